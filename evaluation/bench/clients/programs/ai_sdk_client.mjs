// Vercel's AI SDK as a server uses it; arguments: live|realtime URL.
// Its input and output are those of openai_client.py.
import { createOpenAI } from '@ai-sdk/openai';
import { WebSocket } from 'ws';

const [api, baseURL] = process.argv.slice(-2);
const PIECE = 4800; // bytes of 100 ms
const ANSWER = 'twelve';
const tell = values => process.stdout.write(JSON.stringify(values) + '\n');

const openai = createOpenAI({ apiKey: 'none', baseURL });
const model = openai.experimental_realtime(api === 'live' ? 'gpt-live-1' : 'gpt-realtime', { api });
const parse = model.createServerEventParser?.() ?? (raw => [model.parseServerEvent(raw)]);
const { url, headers, protocols } = await model.getServerWebSocketConfig({
  intent: 'conversation',
});
const socket = new WebSocket(url, protocols, { headers });

async function send(event) {
  socket.send(JSON.stringify(await model.serializeClientEvent(event)));
}

async function sendInput() {
  let rest = Buffer.alloc(0);
  for await (const data of process.stdin) {
    rest = Buffer.concat([rest, data]);
    for (; rest.length >= PIECE; rest = rest.subarray(PIECE)) {
      const audio = rest.subarray(0, PIECE).toString('base64');
      await send({ type: 'input-audio-append', audio });
    }
  }
  if (api === 'live') await send({ type: 'session-close' });
  else socket.close();
}

async function receive(event) {
  switch (event.type) {
    case 'session-started':
    case 'session-updated':
      tell({ connected: '' });
      sendInput();
      break;
    case 'audio-chunk': // of GPT-Live
    case 'audio-delta':
      tell({ audio: event.delta });
      break;
    case 'transcript-fragment':
      tell({ [event.speaker === 'user' ? 'heard' : 'said']: event.delta });
      break;
    case 'input-transcription-completed':
      tell({ heard: event.transcript });
      break;
    case 'audio-transcript-delta':
      tell({ said: event.delta });
      break;
    case 'delegation-created':
      tell({ asked: '' });
      await send({
        type: 'context-append',
        content: ANSWER,
        delegationId: event.delegationId,
        providerOptions: { openai: { channel: 'commentary' } },
      });
      break;
    case 'function-call-arguments-done':
      tell({ asked: JSON.parse(event.arguments).question });
      await send({
        type: 'conversation-item-create',
        item: {
          type: 'function-call-output',
          callId: event.callId,
          name: event.name,
          output: ANSWER,
        },
      });
      await send({ type: 'response-create' });
      break;
    case 'response-done':
      if (event.status === 'cancelled') tell({ interrupted: '' });
      break;
    case 'session-closed':
      socket.close();
      break;
    case 'error':
      tell({ error: event.message });
  }
}

const config =
  api === 'live'
    ? { instructions: 'You are kind.', providerOptions: { openai: { delegation: { type: 'client' } } } }
    : {
        instructions: 'You are kind.',
        voice: 'marin',
        inputAudioTranscription: {},
        turnDetection: { type: 'server-vad' },
        tools: [
          {
            type: 'function',
            name: 'look_up',
            description: 'Answers a question.',
            parameters: {
              type: 'object',
              properties: { question: { type: 'string' } },
              required: ['question'],
            },
          },
        ],
      };
socket.on('open', () => send({ type: api === 'live' ? 'session-start' : 'session-update', config }));
socket.on('message', data => parse(JSON.parse(data)).forEach(receive));
socket.on('error', error => tell({ error: error.message }));
socket.on('close', () => process.exit());

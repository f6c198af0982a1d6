// OpenAI's Agents SDK for JavaScript; argument: URL.
// Its input and output are those of openai_client.py.
import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime';
import { z } from 'zod';

const [base] = process.argv.slice(-1);
const PIECE = 4800; // bytes of 100 ms
const tell = values => process.stdout.write(JSON.stringify(values) + '\n');

const lookUp = tool({
  name: 'look_up',
  description: 'Answers a question.',
  parameters: z.object({ question: z.string() }),
  execute: async ({ question }) => {
    tell({ asked: question });
    return 'twelve';
  },
});
const agent = new RealtimeAgent({ name: 'Kind', instructions: 'You are kind.', tools: [lookUp] });
const session = new RealtimeSession(agent, { transport: 'websocket' });
session.on('audio', event => tell({ audio: Buffer.from(event.data).toString('base64') }));
session.on('audio_interrupted', () => tell({ interrupted: '' }));
session.on('error', event => tell({ error: String(event.error?.message ?? event.error) }));
session.on('transport_event', event => {
  if (event.type === 'conversation.item.input_audio_transcription.completed')
    tell({ heard: event.transcript });
  else if (event.type === 'response.output_audio_transcript.delta') tell({ said: event.delta });
});
const url = `${base.replace('http', 'ws')}/realtime?model=gpt-realtime`;
await session.connect({ apiKey: 'none', url });
tell({ connected: '' });
let rest = Buffer.alloc(0);
for await (const data of process.stdin) {
  rest = Buffer.concat([rest, data]);
  for (; rest.length >= PIECE; rest = rest.subarray(PIECE)) {
    session.sendAudio(new Uint8Array(rest.subarray(0, PIECE)).buffer);
  }
}
session.close();
process.exit();

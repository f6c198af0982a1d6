"""What our background agent does, told as the stream of a Responses backend."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from microturn.inference.agent.agent import AgentEvent
from microturn.inference.serve.codec import Json

_ERROR_CODE: Final = "server_error"


class BackendStream:
    """The nested events of one delegation: `response.created` to `response.completed` or `failed`.

    Progress of the agent is a summary of its reasoning, its answer is the text of one message.
    """

    def __init__(self, delegation_id: str, *, model: str) -> None:
        self._id, self._model = delegation_id, model
        self._created_at = int(time.time())
        self._n_events = 0
        self._progress: list[str] = []
        self._parts: list[str] = []  # of the answer, which come as one text at its end

    def events(self, step: AgentEvent) -> Iterator[Json]:
        """Yield the events of one step of the agent."""
        match step.status:
            case "accepted":
                yield self._lifecycle("response.created", status="in_progress")
            case "progress":
                yield from self._reasoning(step.text)
            case "partial":
                self._parts.append(step.text)
            case "final":
                yield from self._answer("\n".join(filter(None, [*self._parts, step.text])))
                yield self._lifecycle("response.completed", status="completed")
            case "failed" | "cancelled":
                yield self._lifecycle("response.failed", status=step.status, error=step.text)

    def _reasoning(self, text: str) -> Iterator[Json]:
        place = {"item_id": f"rs_{self._id}", "output_index": 0}
        place["summary_index"] = len(self._progress)
        self._progress.append(text)
        yield self._event("response.reasoning_summary_text.delta", **place, delta=text)
        yield self._event("response.reasoning_summary_text.done", **place, text=text)

    def _answer(self, text: str) -> Iterator[Json]:
        item_id, output_index = f"msg_{self._id}", int(bool(self._progress))
        item: Json = {"id": item_id, "type": "message", "role": "assistant"}
        opened = {**item, "status": "in_progress", "content": []}
        part: Json = {"type": "output_text", "text": text, "annotations": []}
        closed = {**item, "status": "completed", "content": [part]}
        place = {"item_id": item_id, "output_index": output_index, "content_index": 0}
        empty = {**part, "text": ""}
        yield self._event("response.output_item.added", output_index=output_index, item=opened)
        yield self._event("response.content_part.added", **place, part=empty)
        yield self._event("response.output_text.delta", **place, delta=text, logprobs=[])
        yield self._event("response.output_text.done", **place, text=text, logprobs=[])
        yield self._event("response.content_part.done", **place, part=part)
        yield self._event("response.output_item.done", output_index=output_index, item=closed)

    def _lifecycle(self, kind: str, *, status: str, error: str = "") -> Json:
        response: Json = {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": self._created_at,
            "model": self._model,
            "status": status,
            "error": {"code": _ERROR_CODE, "message": error} if error else None,
            "output": [],
            "tools": [],
            "tool_choice": "none",
            "parallel_tool_calls": False,
        }
        return self._event(kind, response=response)

    def _event(self, kind: str, **fields: object) -> Json:
        self._n_events += 1
        return {"type": kind, "sequence_number": self._n_events - 1, **fields}

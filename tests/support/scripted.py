"""What a model is scripted to write on a text lane."""

from microturn.model.streams import CONTROL_TOKENS, Tokenizer, control_id


def scripted_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of words and control tokens, such as `<delegate> one`."""
    return [
        i
        for part in text.split()
        for i in ([control_id(part)] if part in CONTROL_TOKENS else tokenizer.encode(part))
    ]

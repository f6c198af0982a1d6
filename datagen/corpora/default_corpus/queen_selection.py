"""Which lines of Flight of the Amazon Queen ship, what for, and whose are held out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from microturn.datagen.corpora.default_corpus.amazon_queen import (
    ALIASES,
    OBJECTS,
    VoicedLine,
    pairs,
)
from microturn.model.streams import normalise

# About a fifth of the speakers; a character that may go by two tags stays on one side.
HELD_OUT = frozenset(
    ["guardian", "henry", "lola", "man", "naomi", "rico", "skip", "tam", "wedgewood"]
)
_UNKNOWN = "NARRATOR"
_MAX_BYTES = 16_000  # 8 s of 16 kbit/s
_DIGITS = frozenset(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])

_GREETING = re.compile(
    r"(ah |well |why |okay |gee )*(hello|hi|hey there|howdy|greetings|good day|goodbye|bye|farewell"
    r"|so long|see you|thanks|thank you|good luck|you're welcome)\b"
)
_INTERRUPTION = re.compile(
    r"(hey |whoa |oh |now )*(hang on|hold it|hold on|wait|stop|shut up|be quiet|quiet|enough"
    r"|excuse me|hey you|hey there|listen|never mind|forget it|cut that out|knock it off|go away"
    r"|come back|halt|not so fast|watch (it|out)|look out|just a (minute|moment|second)|hey)\b"
)
_ORDER = re.compile(
    r"(now |just |please |well |then |hey )*(go|come|get|give|take|tell|show|try|look|let|leave|put"
    r"|open|close|hurry|help|follow|keep|make|move|stay|stop|watch|bring|use|talk|turn|pick|read"
    r"|run|sit|relax|don't|remember|forget|apologise|hold|hang|wait|listen|be|fix|kill|say|ask)\b"
)
_ASSENT = (
    r"okay|yes|yeah|yep|yes indeed|yeah sure|yeah right|yeah whatever|uh huh|h+m+|m+h+m+|u+m+|e+r+"
    r"|oh|ah|ahem|huh|right|that's right|of course|exactly|correct|sure|sure thing|certainly|indeed"
    r"|absolutely|great|good|very good|very well|excellent|good idea|swell|neat|wow|gee|gosh"
    r"|really|i see|maybe|perhaps|probably|what|why|who|where|hey|sorry|no|nope|nah|no way"
    r"|heck no|heavens no|of course not|not really|not quite|not exactly|not yet|no problem|uh oh"
    r"|oh no|oh well|oh great|oh joy|oh brother|oh nothing|oh darn|oh alright|alright already"
    r"|alright alright|sort of|sorta|you bet|good heavens|holy cow|gee whiz|jeez|sheesh|whew|whoa"
    r"|whoah|whoops|oops|yikes|ouch|ow|yow|damn|shucks|no kidding|you're right|that's okay"
    r"|that's it|that's correct|that's good|that's great|that's funny|that's strange|that's alright"
    r"|that depends|i think|i guess|finally|always|almost|usually|amazing|remarkable|thank goodness"
    r"|tee hee|heh heh|my pleasure|too late|me too|mine too|now what|what now|why not"
    r"|great stuff|much better|nonsense|well|well yeah|bah|hmph|see"
)
_BACKCHANNEL = re.compile(
    rf"(oh |ah |um |er |err |well |why |gee |okay |hmm |hey )*({_ASSENT})( joe| sparky| sir| king)?"
)
_NOISE = re.compile(
    r"<|\b(\w*rr+[rg]+\w*|w+a+r+k|s?qu?w?a+r?w?k|woof|aroof|gsrh|mm+\w*ft|\w*blt)\b"
)


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A clip that ships, with its speaker's name, its tags and its side of the split."""

    clip: VoicedLine
    speaker: str
    tags: frozenset[str]
    split: str


def speaker_name(tag: str) -> str:
    """The name of a character by any of its tags; empty where nobody knows who speaks."""
    if tag in OBJECTS or tag == _UNKNOWN:
        return ""
    return ALIASES.get(tag, tag).lower().replace(" ", "-")


def tags_of(text: str) -> frozenset[str]:
    """What a line is good for, judged by its text."""
    said = normalise(text)
    words = said.split()
    tags = {"dialogue"}
    if text.rstrip().endswith("?"):
        tags.add("question")
    if re.search(r"(\.\.|-)['\"]?$", text.rstrip()):
        tags.add("trailing")
    if _BACKCHANNEL.fullmatch(said):
        tags.add("backchannel")
    if len(words) <= 4 and _GREETING.match(said):
        tags.add("greeting")
    if len(words) <= 7 and _INTERRUPTION.match(said):
        tags.add("interruption")
    if len(words) <= 7 and _ORDER.match(said) and "question" not in tags:
        tags.add("imperative")
    if len(words) == 1 and len(said) == 1:
        tags.add("letter")
    if _DIGITS & set(words):
        tags.add("digit")
    return frozenset(tags)


def usable(clip: VoicedLine) -> bool:
    """Short enough, by a known speaker, and words rather than noises or figures."""
    return (
        clip.size <= _MAX_BYTES
        and bool(speaker_name(clip.speaker))
        and bool(normalise(clip.text))
        and not re.search(r"\d", clip.text)
        and not _NOISE.search(clip.text.lower())
    )


_ALWAYS = frozenset(["backchannel", "greeting", "interruption", "imperative", "letter", "digit"])


def select(clips: list[VoicedLine], n_bytes: int) -> list[Pick]:
    """All lines of the kinds that are needed, then turn by turn from every speaker.

    A speaker's turn is a line-and-reply pair or one line, questions and cut-off lines first. The
    order is drawn from the clips' names, so it is the same everywhere.
    """
    usable_clips = {clip.id: clip for clip in clips if usable(clip)}
    tags = {name: tags_of(clip.text) for name, clip in usable_clips.items()}
    replies = {
        node: pair
        for node, pair in pairs(clips).items()
        if pair[0] in usable_clips and pair[1] in usable_clips
    }
    chosen = {name for name in usable_clips if tags[name] & _ALWAYS}
    left = n_bytes - sum(usable_clips[name].size for name in chosen)
    for names in _turns(usable_clips, tags, replies):
        fresh = [name for name in names if name not in chosen]
        left -= sum(usable_clips[name].size for name in fresh)
        if left < 0:
            break
        chosen.update(fresh)
    paired: dict[str, set[str]] = {}
    for node, (line, reply) in replies.items():
        if line in chosen and reply in chosen:
            for name in (line, reply):
                paired.setdefault(name, set()).add(f"pair:{node}")
    return [_pick(usable_clips[n], tags[n] | paired.get(n, set())) for n in sorted(chosen)]


def _turns(
    clips: dict[str, VoicedLine],
    tags: dict[str, frozenset[str]],
    replies: dict[str, tuple[str, str]],
) -> Iterator[tuple[str, ...]]:
    queues: dict[str, list[tuple[str, ...]]] = {}
    for line, reply in replies.values():
        queues.setdefault(speaker_name(clips[reply].speaker), []).append((line, reply))
    for name, clip in clips.items():
        queues.setdefault(speaker_name(clip.speaker), []).append((name,))

    def order(names: tuple[str, ...]) -> tuple[bool, str]:
        plain = not any(tags[name] & {"question", "trailing"} for name in names)
        return plain, sha256(" ".join(names).encode()).hexdigest()

    for queue in queues.values():
        queue.sort(key=order)
    for turn in range(max(map(len, queues.values()))):
        for speaker in sorted(queues):
            if turn < len(queues[speaker]):
                yield queues[speaker][turn]


def _pick(clip: VoicedLine, tags: frozenset[str] | set[str]) -> Pick:
    speaker = speaker_name(clip.speaker)
    split = "test" if speaker in HELD_OUT else "train"
    return Pick(clip=clip, speaker=speaker, tags=frozenset(tags), split=split)

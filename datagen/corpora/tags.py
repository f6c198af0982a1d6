"""Tags of English lines by their text: greeting, question, backchannel and so on."""

from __future__ import annotations

import re

from microturn.model.streams import normalise

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


def tags_of(text: str) -> frozenset[str]:
    """Tag an English line by its text."""
    normalised = normalise(text)
    words = normalised.split()
    tags = {"dialogue"}
    if text.rstrip().endswith("?"):
        tags.add("question")
    if re.search(r"(\.\.|-)['\"]?$", text.rstrip()):
        tags.add("trailing")
    if _BACKCHANNEL.fullmatch(normalised):
        tags.add("backchannel")
    if len(words) <= 4 and _GREETING.match(normalised):
        tags.add("greeting")
    if len(words) <= 7 and _INTERRUPTION.match(normalised):
        tags.add("interruption")
    if len(words) <= 7 and _ORDER.match(normalised) and "question" not in tags:
        tags.add("imperative")
    if len(words) == 1 and len(normalised) == 1:
        tags.add("letter")
    if _DIGITS & set(words):
        tags.add("digit")
    return frozenset(tags)

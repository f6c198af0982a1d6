"""The registry of layouts of conversations, from the most specific to the most general."""

from microturn.datagen.corpora.conversations.described import ConversationFormat
from microturn.datagen.corpora.conversations.layouts.lhotse_dialogues import LHOTSE_DIALOGUES
from microturn.datagen.corpora.conversations.layouts.meetings import MEETINGS
from microturn.datagen.corpora.conversations.layouts.moshi import MOSHI
from microturn.datagen.corpora.conversations.layouts.per_participant import PER_PARTICIPANT
from microturn.datagen.corpora.conversations.layouts.scripted import SCRIPTED_DIALOGUES
from microturn.datagen.corpora.conversations.layouts.shards import SHARDS
from microturn.datagen.corpora.conversations.layouts.sph import SPH
from microturn.datagen.corpora.conversations.layouts.two_files import TWO_FILES

LAYOUTS: tuple[ConversationFormat, ...] = (
    SHARDS,
    MOSHI,
    LHOTSE_DIALOGUES,
    SCRIPTED_DIALOGUES,
    PER_PARTICIPANT,
    SPH,
    MEETINGS,
    TWO_FILES,
)

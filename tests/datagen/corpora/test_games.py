"""Games added as corpora: their lines, and their dialogues as far as the lines are usable."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from microturn.datagen.corpora import fillets
from microturn.datagen.corpora.add import add_corpus
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import CONVERSATIONS_NAME
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, Corpus
from microturn.datagen.corpora.utterance import Utterance
from tests.support.game_archive import archive_file, dialogue_tree, tables

RATE = 16_000
LEVEL = """
local function prog_init()
    return function()
        if isReady(small) and isReady(big) then
            if room.uvod == 0 then
                addm(20 + random(30), "let-m-divna")
                if random(100) < 50 then
                    addv(random(10) + 5, "let-v-vrak"..random(2))
                end
                addm(2, "let-m-konec")
            elseif room.ooku == 0 then
                -- addm(1, "let-m-nikdy")
                planDialog(5, "let-v-oko")
                addm(5, "let-m-oko")
                addm(5, "let-m-divna")
            elseif sed1.dir ~= dir_no then
                addv(0, "let-v-sedadlo")
            end
        end
    end
end
"""
FONTS = {"m": "font_small", "v": "font_big"}
SAID = [
    *("let-m-divna", "let-v-vrak0", "let-v-vrak1", "let-m-konec"),
    *("let-v-oko", "let-m-oko", "let-v-sedadlo", "let-m-nikdy"),
]


def fish(root: Path, shipped: Corpus, *, without: str = "") -> Path:
    """What the packages of the fish unpack to, with one level and Spanish words for sounds."""
    (root / "usr/share/doc/fillets-ng-data-cs").mkdir(parents=True)
    game = root / "usr/share/games/fillets-ng"
    script, sounds = game / "script/airplane", game / "sound/airplane/cs"
    script.mkdir(parents=True)
    sounds.mkdir(parents=True)
    (script / "code.lua").write_text(LEVEL)
    texts = ""
    for name, utterance in zip(SAID, shipped.filter(speaker="asterisk-es"), strict=False):
        texts += f'dialogId("{name}", "{FONTS[name[4]]}", "An \\"English\\" text.")\n'
        texts += f'dialogStr("{utterance.text} \\"{name[6:]}\\"")\n\n'
        if name != without:
            soundfile.write(sounds / f"{name}.ogg", shipped.load(utterance), RATE, format="OGG")
    (script / "dialogs_cs.lua").write_text(texts)
    return root


def config(source: str, out: Path, root: Path) -> CorpusAddConfig:
    cache = str(out.parent / "cache")
    return CorpusAddConfig(source=source, out=str(out), root=str(root), cache=cache, workers=1)


def turns(folder: Path) -> dict[str, list[str]]:
    return {
        dialogue.id: [turn.utterance.rpartition("/")[2] for turn in dialogue.turns]
        for dialogue in Conversations.open(str(folder))
    }


def test_the_fish_speak_in_the_order_of_the_level(tmp_path: Path, shipped: Corpus) -> None:
    """Optional lines stand in their place, alternatives begin another dialogue."""
    out, root = tmp_path / "out", fish(tmp_path / "root", shipped)
    summary = add_corpus(config("fillets-cs", out, root))
    assert turns(out) == {
        "fillets-cs/airplane-1": ["let-m-divna", "let-v-vrak0", "let-m-konec"],
        "fillets-cs/airplane-2": ["let-v-oko", "let-m-oko"],
    }
    assert summary["scripted"] == {"dialogues": 2, "turns": 5, "left_out": 0}
    corpus = Corpus.open(out)
    first = corpus["fillets-cs/airplane/let-m-divna"]
    assert (first.text, first.speaker) == ('gracias "divna"', "fillets-cs-small-fish")
    assert {utterance.split for utterance in corpus} == {"train"}
    assert {dialogue.split for dialogue in Conversations.open(str(out))} == {"train"}
    assert (len(corpus), summary["speakers"]) == (len(SAID), {"train": 2})


def test_a_line_without_sound_breaks_a_dialogue_of_the_fish(
    tmp_path: Path, shipped: Corpus
) -> None:
    root = fish(tmp_path / "root", shipped, without="let-v-vrak0")
    assert len(list(fillets.recordings(root, "cs"))) == len(SAID) - 1
    out = tmp_path / "out"
    summary = add_corpus(config("fillets-cs", out, root))
    assert turns(out) == {"fillets-cs/airplane-2": ["let-v-oko", "let-m-oko"]}
    assert summary["scripted"] == {"dialogues": 1, "turns": 2, "left_out": 3}


@pytest.fixture(scope="module")
def bob(shipped: Corpus) -> list[tuple[Utterance, Utterance]]:
    """Three lines to Bob with his replies, as they ship."""
    replies = [u for u in shipped.filter(speaker="trader-bob") for t in u.tags if "pair:" in t]
    found = []
    for reply in replies[:3]:
        tag = next(tag for tag in reply.tags if tag.startswith("pair:"))
        found.append((shipped.filter(speaker="joe", tag=tag)[0], reply))
    return found


def stored(utterance: Utterance) -> bytes:
    with (DEFAULT_FOLDER / utterance.tar).open("rb") as file:
        file.seek(utterance.offset)
        return file.read(utterance.size)


def queen(root: Path, bob: list[tuple[Utterance, Utterance]]) -> Path:
    """What the package of the game unpacks to: one conversation whose second reply is no sound."""
    (root / "usr/share/doc/flight-of-the-amazon-queen").mkdir(parents=True)
    folder = root / "usr/share/scummvm/flight-of-the-amazon-queen"
    folder.mkdir(parents=True)
    lines = {6 + i: (line.text, reply.text) for i, (line, reply) in enumerate(bob)}
    tree = dialogue_tree(
        6,
        [(1, [(6, 1), (7, 1), (8, -1)])],
        joe={number: line for number, (line, _) in lines.items()},
        other={number: reply for number, (_, reply) in lines.items()},
        again=("", ""),
    )
    sounds = {}
    for number, (line, reply) in zip(lines, bob, strict=True):
        sounds[f"06{number:04X}J1.SB"] = stored(line)
        sounds[f"06{number:04X}P1.SB"] = stored(reply) if number != 7 else bytes(1000)
    archive_file(folder / "queen.1c", {**tables(), "BOB1.DOG": tree, **sounds})
    return root


def test_an_exchange_that_is_not_whole_is_left_out_of_the_game(
    tmp_path: Path, bob: list[tuple[Utterance, Utterance]]
) -> None:
    out = tmp_path / "out"
    summary = add_corpus(config("fotaq", out, queen(tmp_path / "root", bob)))
    assert summary["skipped"] == {"unreadable": 1}
    assert turns(out) == {
        "fotaq/talk-bob1-1": ["060006J1", "060006P1"],
        "fotaq/talk-bob1-1-2": ["060008J1", "060008P1"],
    }
    assert summary["scripted"] == {"dialogues": 2, "turns": 4, "left_out": 2}
    (first, _) = Conversations.open(str(out))
    assert first.speakers == ("joe", "trader-bob")
    assert first.licence == "LicenseRef-Flight-of-the-Amazon-Queen"


def test_a_folder_without_dialogues_gets_no_file_of_them(tmp_path: Path, shipped: Corpus) -> None:
    source = tmp_path / "some"
    source.mkdir()
    one = shipped.filter(speaker="asterisk-es")[0]
    soundfile.write(source / "a.wav", shipped.load(one), RATE)
    (source / "a.txt").write_text(one.text)
    add_corpus(CorpusAddConfig(source=str(source), out=str(tmp_path / "out"), workers=1))
    assert not (tmp_path / "out" / CONVERSATIONS_NAME).exists()

"""The dialogues of Flight of the Amazon Queen: walks through its dialogue trees, and cut-scenes.

A dialogue tree is a list of menus. Joe says a choice of a menu, the other replies, and the menu
whose head is this choice follows, else the menu that the choice names. A walk is a conversation
that the game can play.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from microturn.datagen.corpora.conversations.parts import DialogueParts
from microturn.datagen.corpora.default_corpus.amazon_queen import (
    DialogueTree,
    TreeMenu,
    VoicedLine,
)

# The nodes of Joe's greeting and of its answer, at the first meeting and at later ones.
GREETINGS: Final = (("SSSS", "0001"), ("XXXX", "XXXX"))
ENOUGH: Final = 6  # exchanges after which a walk ends where it comes back to an earlier menu

_Exchange = tuple[str, ...]  # the clips of Joe's line and of the reply


def dialogues(trees: Iterable[DialogueTree], clips: Sequence[VoicedLine]) -> list[DialogueParts]:
    """Return the walks through every tree, then the cut-scenes of several speakers.

    A part of a walk is a line and its reply, and each stands in one walk; a part of a scene is
    what one speaker says in a row.
    """
    sides: defaultdict[str, list[str]] = defaultdict(list)  # clips by node and by J or P
    for clip in clips:
        if clip.scene.endswith(".DOG"):
            sides[clip.id[:7]].append(clip.id)
    walks = [
        DialogueParts(id=f"talk-{tree.name.lower()}-{number}", parts=walk)
        for tree in trees
        for number, walk in enumerate(_walks(tree, sides), start=1)
    ]
    return walks + list(_scenes(clips))


def _walks(tree: DialogueTree, sides: dict[str, list[str]]) -> Iterator[tuple[_Exchange, ...]]:
    """Yield walks until every exchange of the tree stands in one.

    They begin at the first menu while it has choices left, then at the first choice that is left;
    the first two begin with a greeting.
    """
    left = _exchanges(tree, sides)
    menus = {menu.head: menu for menu in tree.menus}
    start = f"{tree.key:02d}"
    greetings = [
        (*sides[f"{start}{line}J"], *sides[f"{start}{reply}P"])
        for line, reply in GREETINGS
        if f"{start}{line}J" in sides and f"{start}{reply}P" in sides
    ]
    while left or greetings:
        walk = [greetings.pop(0)] if greetings else []
        menu = next((menu for menu in tree.menus if _first(menu, left)), None)
        if walk and menu is not tree.menus[0]:
            menu = None
        walk += _walk(menu, menus, left)
        yield tuple(walk)


def _walk(
    menu: TreeMenu | None, menus: dict[int, TreeMenu], left: dict[int, _Exchange]
) -> Iterator[_Exchange]:
    """Take exchanges out of those that are left, from menu to menu."""
    taken = 0
    while menu is not None and (found := _first(menu, left)):
        choice, after = found
        yield left.pop(choice)
        taken += 1
        menu = menus.get(choice)
        if menu is None and taken < ENOUGH:
            menu = menus.get(after)


def _first(menu: TreeMenu, left: dict[int, _Exchange]) -> tuple[int, int] | None:
    return next((choice for choice in menu.choices if choice[0] in left), None)


def _exchanges(tree: DialogueTree, sides: dict[str, list[str]]) -> dict[int, _Exchange]:
    """Return the exchanges of a tree by choice; a line without a reply is none."""
    found = {}
    for choice, _ in (choice for menu in tree.menus for choice in menu.choices):
        node = tree.node(choice)
        if f"{node}J" in sides and f"{node}P" in sides:
            found[choice] = (*sides[f"{node}J"], *sides[f"{node}P"])
    return found


def _scenes(clips: Iterable[VoicedLine]) -> Iterator[DialogueParts]:
    lines = sorted((c for c in clips if c.scene.endswith(".CUT")), key=lambda c: (c.scene, c.id))
    for scene, group in groupby(lines, lambda clip: clip.scene):
        turns = [
            (speaker, tuple(clip.id for clip in turn))
            for speaker, turn in groupby(group, lambda clip: clip.speaker)
        ]
        if len({speaker for speaker, _ in turns}) > 1:
            name = scene.removesuffix(".CUT").lower()
            yield DialogueParts(id=f"scene-{name}", parts=tuple(clips for _, clips in turns))

"""Parts of the page in a browser: cards, the canvas, the width of a phone, the playback cushion."""

import itertools
import json

import pytest

from tests.support.browser import NEEDS_BROWSER, ServedPage, Tab
from tests.support.scripted_page import start_talking

pytestmark = [pytest.mark.clients, NEEDS_BROWSER]


def test_cards_show_text_as_text_and_are_replaced(tab: Tab, page: ServedPage) -> None:
    tab.open(page.url)
    evil = "<img src=x onerror=alert(1)>"
    cards = [
        {"id": "d1", "card": 0, "kind": "text", "title": evil, "text": f"one\ntwo {evil}"},
        {"id": "d1", "card": 1, "kind": "list", "title": "Places", "items": ["a", evil]},
        {"id": "d1", "card": 2, "kind": "table", "columns": ["x", "y"], "rows": [["1", evil]]},
        {"id": "d1", "card": 1, "kind": "list", "title": "Places", "items": ["b"]},
        {"id": "d1", "card": 3, "kind": "sculpture", "title": "of the future"},
    ]
    shown = tab.value(
        f"""(async () => {{
            const {{ Background }} = await import('./background.js');
            const list = document.getElementById('delegations');
            const cancelled = [];
            const background = new Background(list, (id) => cancelled.push(id));
            background.delegation({{ id: 'd1', status: 'accepted', text: '', about: 'which' }});
            for (const card of {json.dumps(cards)}) background.card(card);
            list.querySelector('button').click();
            return {{
                cancelled,
                images: list.querySelectorAll('img').length,
                titles: [...list.querySelectorAll('h3')].map((e) => e.textContent),
                items: [...list.querySelectorAll('li li')].map((e) => e.textContent),
                cells: [...list.querySelectorAll('th, td')].map((e) => e.textContent),
                text: list.querySelector('.card p').textContent,
                about: list.querySelector('b').textContent,
            }};
        }})()"""
    )
    assert shown == {
        "cancelled": ["d1"],
        "images": 0,
        "titles": [evil, "Places", "of the future"],
        "items": ["b"],
        "cells": ["x", "y", "1", evil],
        "text": f"one\ntwo {evil}",
        "about": "which",
    }


def test_at_the_width_of_a_phone_nothing_stands_over_anything(tab: Tab, page: ServedPage) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    tab.call("Emulation.setDeviceMetricsOverride", **size)
    start_talking(tab, page)
    tab.wait("words", lambda: "please" in tab.text("transcript"))
    assert tab.value("document.documentElement.scrollWidth") <= 360
    overlapping = tab.value(
        """(() => {
            const shown = 'button, meter, select, h1, h2, dd, #status';
            const boxes = [...document.querySelectorAll(shown)]
                .filter((e) => e.checkVisibility())
                .map((e) => [e.textContent, e.getBoundingClientRect()]);
            const over = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
                && a.top < b.bottom - 1 && b.top < a.bottom - 1;
            return boxes.flatMap(([name, a], i) => boxes.slice(i + 1)
                .filter(([, b]) => over(a, b)).map(([other]) => `${name} over ${other}`));
        })()"""
    )
    assert overlapping == []


def test_words_on_the_canvas_leave_each_other_room(tab: Tab, page: ServedPage) -> None:
    """Many words in a second on a narrow canvas."""
    tab.open(page.url)
    drawn = tab.value(
        """(async () => {
            const { Lanes } = await import('./lanes.js');
            const canvas = document.getElementById('lanes');
            canvas.style.width = '320px';
            const drawn = [];
            const pen = canvas.getContext('2d');
            const fillText = pen.fillText.bind(pen);
            pen.fillText = (text, x, y) => {
                drawn.push([text, x, x + pen.measureText(text).width, y]);
                fillText(text, x, y);
            };
            const lanes = new Lanes(canvas);
            lanes.begin({ micro_turn_ms: 200 });
            for (let k = 0; k < 40; k++) {
                for (const side of ['user', 'agent']) {
                    lanes.word({ side, text: `number${k}`, time_s: k * 0.2 });
                }
                lanes.lost('input', [[k, k + 1]]);
                drawn.length = 0;
                lanes.microTurn(k, 50);
            }
            return drawn;
        })()"""
    )
    assert len(drawn) > 10
    for height in {y for *_, y in drawn}:
        row = sorted((left, right) for _, left, right, y in drawn if y == height)
        assert all(right <= left for (_, right), (left, _) in itertools.pairwise(row))


def test_the_playback_cushion_shrinks_again_after_a_calm_while(tab: Tab, page: ServedPage) -> None:
    """Chunks of 200 ms: on time, then one 100 ms late (a gap), then on time for a minute."""
    tab.open(page.url)
    found = tab.value(
        """(async () => {
            const { JitterBuffer } = await import('./jitter.js');
            const rate = 16000;
            const buffer = new JitterBuffer(rate, 0.2);
            const block = new Float32Array(160);
            let due = 0;
            const states = {};
            let loud = 0;
            for (let ms = 0; ms < 90_000; ms += 10) {
                if (ms >= due) {
                    const k = Math.round(ms / 200);
                    // Speech for a second, then silence for a second.
                    buffer.add(new Float32Array(3200).fill(k % 10 < 5 ? 0.5 : 0));
                    due += 200;
                    if (ms === 10_000) due += 150;
                    if (ms > 10_000 && ms < 10_400) due -= 150;
                }
                buffer.fill(block.fill(0));
                if (ms > 20_000 && ms < 80_000) loud += block.filter((x) => x > 0.1).length;
                if (ms % 10_000 === 9_990) {
                    states[ms + 10] = [buffer.gaps, buffer.cushion / 16, buffer.least / 16];
                }
            }
            return { states, dropped: buffer.dropped, loud: loud / rate };
        })()"""
    )
    gaps = {ms: state[0] for ms, state in found["states"].items()}
    waits_ms = {ms: state[2] for ms, state in found["states"].items()}
    assert gaps == {"10000": 0, **{str(1_000 * s): 1 for s in range(20, 100, 10)}}
    assert waits_ms["10000"] == pytest.approx(60, abs=10)
    assert waits_ms["20000"] > 150  # after the gap the chunks that were late wait as well
    assert waits_ms["90000"] == pytest.approx(70, abs=10)
    assert found["dropped"] == 0
    assert found["loud"] == pytest.approx(30, abs=0.6)  # no speech was left out


def test_sound_is_played_through_a_peer_so_that_its_echo_is_cancelled(
    tab: Tab, page: ServedPage
) -> None:
    """What the page plays arrives at the other end of its own connection, and in time."""
    tab.open(page.url)
    found = tab.value(
        """(async () => {
            const { Sound } = await import('./sound.js');
            const arrived = [];
            window.RTCPeerConnection = class extends RTCPeerConnection {
                constructor() {
                    super();
                    this.addEventListener('track', ({ streams }) => arrived.push(streams[0]));
                }
            };
            const hello = { sample_rate: 16000, samples_per_micro_turn: 3200, micro_turn_ms: 200 };
            const sound = await Sound.open(hello, { onChunk() {}, onPlayer() {} });
            const { direct } = sound.canceller;
            const ear = new AnalyserNode(sound.context, { fftSize: 2048 });
            sound.context.createMediaStreamSource(arrived[0]).connect(ear);
            const tone = Int16Array.from({ length: 3200 }, (_, i) => 8000 * Math.sin(i / 5));
            const samples = new Float32Array(2048);
            let loudest = 0;
            for (let i = 0; i < 100 && loudest < 0.05; i++) {
                sound.play(tone.slice().buffer);
                await new Promise((resolve) => setTimeout(resolve, 100));
                ear.getFloatTimeDomainData(samples);
                loudest = Math.max(loudest, ...samples);
            }
            sound.close();
            return { direct, loudest };
        })()"""
    )
    assert found["direct"] is False
    assert found["loudest"] > 0.05

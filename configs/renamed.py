"""Former names of keys, commands and files; each is refused with a sentence that gives the new one.

Entries stay for as long as configurations that use the former name may exist.
"""

# Class of a section: {former key: new key}, both dotted and counted from that section. A key of
# the section covers everything below it, so a renamed section needs one entry.
RENAMED_KEYS: dict[str, dict[str, str]] = {
    "BenchSessionConfig": {"peer_seconds": "peer_s"},
    "BenchGpuKernelsConfig": {"max_seconds": "max_s"},
    "BenchGpuSessionsConfig": {"max_seconds": "max_s"},
    "BenchGpuTrainingConfig": {"max_seconds": "max_s"},
    "PlanConfig": {"mfu": "utilisation", "checkpointing": "activation_checkpointing"},
    "EvaluateConfig": {"n_worst": "n_pictures"},
    "ServeConfig": {
        "max_late_micro_turns": "max_waiting_micro_turns",
        "late_after_ms": "missing_input_after_ms",
    },
    "TrainingConfig": {"listen": "streaming_validation", "strategy": "parallel.shard"},
    "RoomsConfig": {"rt60": "rt60_s", "longest": "max_response_s"},
    "StretchConfig": {"most": "max_stretches", "length": "length_s"},
    "EchoConfig": {"converge": "converge_s"},
    "NetworkConfig": {
        "longest_burst": "max_burst",
        "stall": "stall_s",
        "most_stalls": "max_stalls",
        "late_share": "missing_share",
    },
    "TimingConfig": {
        "lead_in": "lead_in_s",
        "gap": "gap_s",
        "word_gap": "word_gap_s",
        "pause": "pause_s",
        "result_delay": "result_delay_s",
        "background_tail": "background_tail_s",
        "silence": "silence_s",
        "yield_after": "yield_after_s",
    },
    "ScenarioConfig": {
        "listening_pause": "listening_pause_s",
        "recital_gap": "recital_gap_s",
        "translation_gap": "translation_gap_s",
        "tool_latency": "tool_latency_s",
        "errand_gap": "errand_gap_s",
        "filler_after": "filler_after_s",
        "repeat_seconds": "repeat_period_s",
    },
    "HumanTimingConfig": {
        "shortest_pause_s": "min_pause_s",
        "longest_backchannel_s": "max_backchannel_s",
    },
    "VocabularyConfig": {"cue_seconds": "cue_delay_s", "stop_word_share": "stop_share"},
    "DatagenConfig": {"vocabulary.stop_phrase_share": "voices.other_share"},
    "VerifyAudioConfig": {"dialogues": "n_dialogues"},
    "VideoConfig": {
        "delay": "delay_s",
        "period": "period_s",
        "pause": "pause_s",
        "span": "span_s",
        "appears": "appears_s",
    },
}

# Former words of a command: its new words.
RENAMED_COMMANDS: dict[str, str] = {"listen": "verify-audio"}

# Former path of a file below configs/: its new path.
RENAMED_FILES: dict[str, str] = {
    "inference/bench.yaml": "bench/session.yaml",
    "inference/bench_short.yaml": "bench/session_short.yaml",
}


def renamed_key(section: str, name: str) -> str | None:
    """The new name of dotted key `name` of a section's class, or None if it never had another."""
    parts = name.split(".")
    keys = RENAMED_KEYS.get(section, {})
    for length in range(len(parts), 0, -1):
        new = keys.get(".".join(parts[:length]))
        if new is not None:
            return ".".join([new, *parts[length:]])
    return None

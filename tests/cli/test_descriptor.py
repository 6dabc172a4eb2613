"""What libraries log is left out of stderr; what anybody else says, and the last words of a crash, are not."""

import io
import re

import pytest

from sfgkeras.cli.line_filter import LIBRARY_LINE, pass_on

LIBRARY = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795275094.487773   14552 port.cc:153] oneDNN custom operations are on.",
    "E0000 00:00:1795275116.776613   14725 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error",
    "W0000 00:00:1745486533.203198 3722035 computation_placer.cc:177] computation placer already registered.",
    "E1114 09:32:22.280168   13509 server_chttp2.cc:40] no address added",
    "2025-09-17 14:44:05.176998: E external/local_xla/xla/stream_executor/cuda/cuda_fft.cc:467] Unable to register",
    "To enable the following instructions: AVX2 AVX512F FMA, in other operations, rebuild TensorFlow",
]
OTHERS = [
    "sfgkeras: run.ini:3: [TRAINING] lr = 'fast' is not a number",
    "F0000 00:00:1795275116.776613   14725 tensor.cc:52] Check failed: IsInitialized()",
    "2025-09-17 14:44:05.176998: F tensorflow/core/framework/tensor.cc:852] Check failed: IsAligned()",
    "terminate called after throwing an instance of 'std::bad_alloc'",
    "Fatal Python error: Segmentation fault",
    "Error: I0000 is no iteration",
    "warning: E0000.nii.gz: has no voxel that is not zero",
    "",
]


def test_lines_of_libraries_are_left_out_and_all_others_are_passed_on_in_order():
    mixed = [line for pair in zip(LIBRARY, OTHERS, strict=False) for line in pair] + OTHERS[len(LIBRARY) :]
    target = io.BytesIO()
    pass_on(io.BytesIO("\n".join(mixed).encode()), target)
    assert target.getvalue().decode().splitlines() == OTHERS[:-1]
    assert all(LIBRARY_LINE.match(line.encode()) for line in LIBRARY)


def test_what_is_no_text_and_a_last_line_without_an_end_are_passed_on():
    content = b"\xff\xfe\x00 no text\nE0000 00:00:1.2   1 a.cc:1] x\nlast words"
    target = io.BytesIO()
    pass_on(io.BytesIO(content), target)
    assert target.getvalue() == b"\xff\xfe\x00 no text\nlast words"


def test_a_target_that_is_full_does_not_stop_the_reading():
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    source = io.BytesIO(b"one\ntwo\n")
    pass_on(source, Full())
    assert source.read() == b""


TALK = """
import os, sys
from sfgkeras.cli.descriptor import without_library_lines
noise = b"E0000 00:00:1795275116.776613   14725 cuda_platform.cc:52] failed call\\n"
print("before", file=sys.stderr)
with without_library_lines():
    os.write(2, noise)
    print("ours: E0000 00:00:1.5   7 a.cc:1] said by Python", file=sys.stderr)
    os.write(2, b"what a C library says\\n")
    {inside}
os.write(2, b"I0000 00:00:1795275116.776613   14725 after.cc:52] shown again\\n")
print("after", file=sys.stderr)
"""


@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_only_the_descriptor_is_filtered_and_it_is_given_back(program, where):
    ended = program(TALK.format(inside="pass"), where)
    assert ended.code == 0
    assert sorted(ended.said.split("\n")[:-1]) == sorted(
        line + ("\r" if where == "terminal" else "")
        for line in (
            "before",
            "ours: E0000 00:00:1.5   7 a.cc:1] said by Python",
            "what a C library says",
            "I0000 00:00:1795275116.776613   14725 after.cc:52] shown again",
            "after",
        )
    )


@pytest.mark.parametrize(
    ("inside", "code", "words"),
    [
        ("os.write(2, b'F0000 00:00:1.5   7 a.cc:1] Check failed'); os.abort()", -6, "Check failed"),
        ("import faulthandler; faulthandler.enable(file=2); os.kill(os.getpid(), 11)", -11, "Segmentation fault"),
        ("os.write(2, b'killed'); os.kill(os.getpid(), 9)", -9, "killed"),
        ("raise ValueError('an error of ours')", 1, "ValueError: an error of ours"),
        ("os.system('echo from a child >&2')", 0, "from a child"),
        ("os._exit(3)", 3, "what a C library says"),
    ],
)
def test_the_last_words_of_a_process_arrive_however_it_ends(program, inside, code, words):
    ended = program(TALK.format(inside=inside))
    assert ended.code == code
    assert words in ended.stderr
    assert "cuda_platform" not in ended.stderr


def test_nothing_is_left_out_and_nothing_fails_where_no_process_can_be_started(program):
    ended = program("import sys\nsys.executable = '/nowhere'\n" + TALK.format(inside="pass"))
    assert ended.code == 0
    assert "cuda_platform" in ended.stderr


def test_without_a_descriptor_2_the_block_runs(program):
    code = "import os\nos.close(2)\nfrom sfgkeras.cli.descriptor import without_library_lines\n"
    ended = program(code + "with without_library_lines():\n    print('done')")
    assert (ended.code, ended.stdout) == (0, "done\n")


def test_the_patterns_know_what_the_installed_libraries_write(program):
    """The lines that importing TensorFlow writes where nothing stops it are lines that the filter knows."""
    ended = program("import tensorflow", variables={"TF_CPP_MIN_LOG_LEVEL": "0"})
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    assert re.search("[IWE]0000|InitializeLog", ended.stderr), "TensorFlow has become quiet: is the filter needed?"
    assert [line for line in lines if not LIBRARY_LINE.match(line.encode())] == []

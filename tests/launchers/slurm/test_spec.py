"""What a job asks of Slurm: read back as it was typed, and nothing else gets in."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.errors import UsageError
from rlguide.launchers.slurm.spec import JobSpec, parse_spec, read_spec, seconds_of

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,7}", fullmatch=True)
COUNTS = st.integers(1, 9999).map(str)
HOSTS = st.sampled_from(("n1", "n[1-4,7]", "n1,n2", "gpu-[01-16],login.cluster"))
SPECS = st.builds(
    JobSpec,
    partition=st.one_of(st.just(""), NAMES, st.tuples(NAMES, NAMES).map(",".join)),
    nodes=st.integers(1, 9999),
    gpus=st.one_of(st.just(""), COUNTS, st.tuples(NAMES, COUNTS).map(":".join)),
    time=st.sampled_from(("", "5", "90:00", "12:00:00", "1-12", "2-03:30", "1-00:00:10")),
    account=st.one_of(st.just(""), NAMES),
    qos=st.one_of(st.just(""), NAMES),
    mem=st.sampled_from(("", "64G", "512000", "1T")),
    cpus=st.one_of(st.just(""), COUNTS),
    constraint=st.sampled_from(("", "a100&nvlink", "[rack1|rack2]", "(a|b)&c")),
    nodelist=st.one_of(st.just(""), HOSTS),
    exclude=st.one_of(st.just(""), HOSTS),
    reservation=st.one_of(st.just(""), NAMES),
    comment=st.sampled_from(("", "偏好 run 3", "a, b")),
    signal=st.integers(1, 9999),
)


@given(SPECS)
def test_read_as_typed(spec: JobSpec) -> None:
    assert parse_spec(str(spec)) == spec
    assert read_spec(json.loads(json.dumps(spec.as_dict()))) == spec


@given(st.one_of(st.text(max_size=40), st.lists(st.text("=,:-[]a1 \n;$`\"'\\&|gpus", max_size=9)).map(",".join)))
def test_whatever_is_typed_no_value_can_leave_its_line_or_its_quotes(text: str) -> None:
    try:
        spec = parse_spec(text)
    except UsageError as error:
        assert error.fix
        return
    assert not re.search(r"""[\x00-\x1f"'\\$`;<>!#~{}?]""", "".join(map(str, spec.as_dict().values())))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partion=gpu", "did you mean partition?"),
        ("partition=gpu,partition=cpu", "twice"),
        ("nodes=0", "how many nodes"),
        ("nodes=two", "how many nodes"),
        ("gpus=a100", "a100:4"),
        ("time=12h", "12:00:00"),
        ("time=1:99", "12:00:00"),
        ("account=a b", "the name of an account"),
        ("account=x\n#SBATCH --uid=0", "the name of an account"),
        ("comment=$(id)", "without quotation marks"),
        ('comment="', "without quotation marks"),
        ("mem=lots", "64G"),
        ("gpus", "such as 4"),
        ("=4", "a key is missing"),
        ("nodes=1,n2", "no key 'n2'"),
    ],
)
def test_refused_with_what_it_should_be(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(text)
    assert said in caught.value.what


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("5", 300),
        ("90:30", 5430),
        ("12:00:00", 43200),
        ("1-12", 129600),
        ("2-03:30", 185400),
        ("1-00:00:10", 86410),
        ("", None),
    ],
)
def test_time_limits_as_slurm_reads_them(time: str, seconds: int | None) -> None:
    assert seconds_of(time) == seconds


def test_a_short_job_is_saved_later() -> None:
    texts = ("", "time=12:00:00", "time=4", "time=4,signal=90", "time=0")  # 0 is no limit (sbatch(1), --time)
    assert [parse_spec(text).lead for text in texts] == [120, 120, 60, 90, 120]


def test_what_gpus_says() -> None:
    assert [(parse_spec(text).gpu_type, parse_spec(text).gpu_count) for text in ("gpus=a100:4", "gpus=2", "")] == [
        ("a100", 4),
        ("", 2),
        ("", 0),
    ]


@given(
    st.dictionaries(
        st.sampled_from((*JobSpec().__dict__, "other")), st.one_of(st.none(), st.text(), st.lists(st.text()))
    )
)
def test_a_record_never_says_more_than_could_be_typed(settings: dict[str, object]) -> None:
    spec = read_spec(settings)
    assert parse_spec(str(spec)) == spec

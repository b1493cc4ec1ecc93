"""Bad configuration gets one answer with every problem, its file and its line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from attrs import field, frozen

from config.loader import ConfigError, load
from config.sanity import judged
from config.schema import Config, load_config


@frozen(kw_only=True)
class Risk:
    loss_usd_per_day_max: Decimal
    positions_max: int = 3
    caps: dict[str, Decimal] = field(factory=dict)
    names: tuple[str, ...] = ()


@frozen(kw_only=True)
class Schema:
    risk: Risk


def problems(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    file = tmp_path / "some.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(Schema, [file], overrides)
    return [str(problem) for problem in caught.value.problems]


def test_an_unknown_key_is_refused_with_file_line_and_nearest_match(tmp_path: Path) -> None:
    found = problems(tmp_path, 'risk:\n  loss_usd_per_day_max: "1"\n  position_max: 3\n')
    assert len(found) == 1
    assert "some.yaml line 3  risk.position_max: unknown key; did you mean positions_max?" in found[0]


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, "risk:\n  loss_usd_per_day_max: 100.0\n  positions_max: many\n  caps: {MEME: 4.5}\n")
    assert [line.split("  ")[1].split(":")[0] for line in found] == [
        "risk.loss_usd_per_day_max",
        "risk.positions_max",
        "risk.caps.MEME",
    ]
    assert "line 2" in found[0]
    assert "line 3" in found[1]
    assert "line 4" in found[2]


@pytest.mark.parametrize("key", ["positions_max", "loss_usd_per_day_max"])
def test_a_key_without_a_value_is_told_in_words_that_its_writer_knows(tmp_path: Path, key: str) -> None:
    found = problems(tmp_path, f"risk:\n  {key}:\n")
    assert f"some.yaml line 2  risk.{key}: has no value; write one or take the key out" in "\n".join(found)


def test_a_file_that_is_no_mapping_is_told_without_the_names_of_a_library(tmp_path: Path) -> None:
    assert problems(tmp_path, "- a\n- b\n")[0].endswith("a configuration is a mapping of sections (name: value)")


@pytest.mark.parametrize(("said", "way_out"), [("DOGE-USD", "[DOGE-USD]"), ("5", "[5]"), ("", "[]")])
def test_a_text_where_a_list_is_wanted_is_refused_not_split_into_letters(
    tmp_path: Path, said: str, way_out: str
) -> None:
    found = problems(tmp_path, f'risk:\n  loss_usd_per_day_max: "1"\n  names: {said}\n')
    assert len(found) == 1
    assert "some.yaml line 3  risk.names: is a list, not" in found[0]
    assert way_out in found[0]


def test_a_product_that_is_never_traded_is_named_as_the_tiers_name_it(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text("universe:\n  never: [TRUMP-USD, dogeusd, XRP-USD-USD]\n")
    loaded = load_config("staging", None, [file])
    errors = [str(problem) for problem in judged(loaded)[0]]
    assert len(errors) == 2, errors
    assert "some.yaml line 2  universe.never: dogeusd is written DOGE-USD here" in errors[0]


def test_a_missing_required_key_is_named(tmp_path: Path) -> None:
    assert "risk.loss_usd_per_day_max: required, missing" in problems(tmp_path, "risk: {positions_max: 2}\n")[0]


@pytest.mark.parametrize(
    "text", ["risk: [", "- 1\n", "risk: {a: b: c}\n", "\x00", "risk: !!python/object:os.system {}\n"]
)
def test_a_broken_file_is_a_sentence_not_a_traceback(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load(Schema, [tmp_path / "none.yaml"])


def test_a_secret_in_a_file_is_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, 'risk: {loss_usd_per_day_max: "1", api_secret: "abc"}\n')
    assert any("secrets never stand in a file" in line for line in found)


def test_the_later_layer_wins_and_set_wins_over_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text('risk: {loss_usd_per_day_max: "1", positions_max: 1}\n')
    second.write_text("risk: {positions_max: 2}\n")
    loaded = load(Schema, [first, second], ["risk.loss_usd_per_day_max=0.10"])
    assert loaded.config.risk == Risk(loss_usd_per_day_max=Decimal("0.10"), positions_max=2)


def test_money_typed_after_set_loses_no_digit() -> None:
    assert str(load(Schema, [], ["risk.loss_usd_per_day_max=0.10"]).config.risk.loss_usd_per_day_max) == "0.10"


def test_the_hash_tells_equal_values_from_different_ones(tmp_path: Path) -> None:
    del tmp_path
    same = {load(Schema, [], ["risk.loss_usd_per_day_max=5", *more]).hash for more in ([], ["risk.positions_max=3"])}
    other = load(Schema, [], ["risk.loss_usd_per_day_max=5", "risk.positions_max=4"]).hash
    assert len(same) == 1
    assert other not in same


@frozen(kw_only=True)
class Tier:
    pct: Decimal
    names: tuple[str, ...] = ()


@frozen(kw_only=True)
class Tables:
    tiers: dict[str, Tier] = field(
        factory=lambda: {"T1": Tier(pct=Decimal(4), names=("BTC-USD",)), "T2": Tier(pct=Decimal(2))}
    )


def test_set_of_one_entry_of_a_table_keeps_its_other_fields_and_the_other_entries(tmp_path: Path) -> None:
    """`--set symbol.strategies.momentum.enabled=true` used to turn every other strategy off, without a word."""
    loaded = load(Tables, [], ["tiers.T2.pct=3", "tiers.T2.names=[SOL-USD]"])
    assert loaded.config.tiers == {
        "T1": Tier(pct=Decimal(4), names=("BTC-USD",)),
        "T2": Tier(pct=Decimal(3), names=("SOL-USD",)),
    }


def test_a_table_that_a_file_writes_is_the_whole_table_and_set_changes_an_entry_of_it(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text('tiers:\n  T9: {pct: "1"}\n')
    assert load(Tables, [file], ["tiers.T9.pct=2"]).config.tiers == {"T9": Tier(pct=Decimal(2))}


def test_set_of_a_whole_table_replaces_it() -> None:
    assert load(Tables, [], ["tiers={T3: {pct: 5}}"]).config.tiers == {"T3": Tier(pct=Decimal(5))}


@pytest.mark.parametrize(("pct", "fine"), [("0", True), ("50", True), ("50.1", False), ("-1", False)])
def test_a_jitter_beyond_its_bounds_is_refused(pct: str, fine: bool) -> None:
    base = Path(__file__).parents[2] / "config" / "base.yaml"
    errors, _ = judged(load(Config, [base], [f"bot.jitter_pct={pct}"]))
    assert any("bot.jitter_pct" in str(one) for one in errors) is not fine

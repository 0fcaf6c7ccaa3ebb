"""Recipes: every bundled one loads and builds; unknown keys and wrong values are refused by file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerass2s import ScheduledSampling, ShortFirst, cmudict, datasets, recipes, zoo
from kerass2s.data import Pair, split_of
from kerass2s.errors import ConfigError
from kerass2s.recipes import build
from kerass2s.recipes.settling import settle

MINIMAL = """
architecture: luong2015
source_tokenizer: {kind: char}
target_tokenizer: {kind: word}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", recipes.names())
def test_every_bundled_recipe_names_an_architecture_and_a_config_of_it(name: str):
    recipe, _ = settle(recipes.load(name), [Pair("ab", "a b")])
    assert zoo.configure(recipe.architecture, **recipe.config)


def test_there_is_a_recipe_for_every_architecture_of_text():
    reads_vectors = {"listen_attend2016", "series2series"}
    assert {recipes.load(name).architecture for name in recipes.names()} == set(zoo.names()) - reads_vectors


@pytest.mark.parametrize("name", recipes.names())
def test_plain_data_and_back_is_the_same(name: str):
    recipe = recipes.load(name)
    assert recipes.from_dict(recipes.to_dict(recipe)) == recipe


def test_changes_go_down_by_dots_and_are_read_as_yaml(file: Path):
    recipe = recipes.load(
        file, ["config.units=256", "learning_rate=1e-3", "batching.by=tokens", "clipnorm=null", "epochs=3"]
    )
    assert recipe.config == {"units": 256}
    assert recipe.learning_rate == 0.001
    assert recipe.batching == recipes.BatchingRecipe("tokens", 64)
    assert recipe.clipnorm is None
    assert recipe.epochs == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("epoch=3", r"mine\.yaml: unknown key `epoch`\. Did you mean `epochs`\?"),
        ("batching.sise=3", r"unknown key `batching\.sise`\. Did you mean `size`\?"),
        ("epochs=many", "`epochs` must be a whole number. Received: 'many'"),
        ("epochs=true", "`epochs` must be a whole number"),
        ("epochs=0", "`epochs` must be at least 1"),
        ("batching.size=0", "in `batching`: `size` must be at least 1"),
        ("learning_rate=fast", "`learning_rate` must be a number"),
        ("learning_rate=0", "`learning_rate` must be above 0"),
        ("clipnorm=-1", "`clipnorm` must be above 0"),
        ("label_smoothing=1", r"`label_smoothing` must be in \[0, 1\)"),
        ("ema=1", r"`ema` must be in \(0, 1\)"),
        ("gradient_accumulation_steps=0", "`gradient_accumulation_steps` must be at least 1"),
        ("precision=float16", "`precision` must be one of float32, mixed_bfloat16"),
        ("early_stopping=0", "`early_stopping` must be at least 1"),
        ("early_stopping=never", "`early_stopping` must be a whole number"),
        ("feeding=scheduled_sampling", "`feeding` must be a mapping"),
        ("curriculum=short", "`curriculum` must be a mapping"),
        ("curriculum.initial=0.1", r"missing key `curriculum\.steps`"),
        ("curriculum={steps: 9, initial: 2}", r"in `curriculum`: `initial` must be in \(0, 1\]"),
        ("curriculum={steps: 9, power: 0.5}", r"in `curriculum`: `power` must be at least 1"),
        ("curriculum={step: 9}", r"unknown key `curriculum\.step`\. Did you mean `steps`\?"),
        ("source_tokenizer.kind=chars", r"`kind` must be one of .*Did you mean `char`\?"),
        ("source_tokenizer.vocabulary_size=4", "`vocabulary_size` must be at least 5"),
        ("source_tokenizer=char", "`source_tokenizer` must be a mapping"),
        ("decay=cosinus", r"Did you mean `cosine`\?"),
        ("data.name=cmu", "`name` must be one of cmudict"),
        ("config=3", "`config` must be a mapping"),
        ("architecture.name=3", "cannot go below `architecture`"),
        ("epochs", r"--set takes KEY=VALUE\. Received: 'epochs'"),
        ("epochs=[", "--set takes a YAML value"),
    ],
)
def test_a_wrong_change_is_refused_by_name(file: Path, change: str, message: str):
    with pytest.raises(ConfigError, match=message):
        recipes.load(file, [change])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "a recipe is a mapping"),
        ("", "a recipe is a mapping"),
        ("a: [", "not a YAML file"),
        ("architecture: luong2015\n", "missing key `source_tokenizer`"),
        ("!!python/object/apply:os.getcwd []\n", "not a YAML file"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, text: str, message: str):
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"broken.yaml: {message}"):
        recipes.load(path)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a YAML file in UTF-8"):
        recipes.load(path)


def test_an_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"Did you mean `g2p_luong2015`\? Received: 'g2p_luong2014'"):
        recipes.load("g2p_luong2014")


def test_data_names_and_files_exclude_each_other():
    with pytest.raises(ConfigError, match="excludes"):
        recipes.DataRecipe(name="cmudict", train="a.tsv")
    given = recipes.load("g2p_luong2015", [], "a.tsv", "b.tsv")
    assert given.data == recipes.DataRecipe(train="a.tsv", dev="b.tsv")


def test_training_needs_data(file: Path):
    with pytest.raises(ConfigError, match="Training needs data"):
        build.load_data(recipes.load(file))


def test_files_give_a_training_pair_for_each_target(file: Path, tmp_path: Path):
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text("read\tR EH D\tR IY D\n", encoding="utf-8")
    recipe = recipes.load(file, [], str(tmp_path / "train.tsv"), str(tmp_path / "dev.tsv"))
    train, dev = build.load_data(recipe)
    assert train == [Pair("read", "R EH D"), Pair("read", "R IY D")]
    assert dev == [Pair("read", "R EH D", ("R IY D",))]


def test_a_teacher_is_a_preset_or_a_recipe(file: Path):
    teacher = recipes.load(file, ["teacher={preset: g2p_en, search: beam:4}"]).teacher
    assert teacher == recipes.TeacherRecipe(preset="g2p_en", search="beam:4")
    for change in ("teacher={}", "teacher={preset: a, recipe: b}"):
        with pytest.raises(ConfigError, match=r"in `teacher`: one of `preset` and `recipe` must say who teaches"):
            recipes.load(file, [change])
    with pytest.raises(ConfigError, match="recipe, `teacher.search`: "):
        build.check(recipes.load(file, ["teacher={preset: a, search: beem}"]))


def test_a_teacher_goes_with_the_data_that_it_was_taught_by(file: Path):
    change = "teacher={preset: mine}"
    file.write_text(MINIMAL + "teacher: {preset: g2p_en}\n", encoding="utf-8")
    assert recipes.load(file).teacher
    assert recipes.load(file, [], "a.tsv", "b.tsv").teacher is None
    assert recipes.load(file, [change], "a.tsv", "b.tsv").teacher == recipes.TeacherRecipe(preset="mine")


def test_a_teacher_is_asked_nothing_that_a_part_has(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train, dev, test = [Pair("cat", "K"), Pair("cat", "C")], [Pair("Dog", "D")], [Pair("EMU", "E")]
    assert build.sources_to_teach(recipes.load(file, ["teacher={preset: x}"]), train, dev) == ["cat"]
    sources = tmp_path / "sources.txt"
    sources.write_text("dog\nemu\ngnu\n\nCat\ngnu\n", encoding="utf-8")
    changes = [f"teacher={{preset: x, sources: {sources}}}"]
    assert build.sources_to_teach(recipes.load(file, changes), train, dev) == ["emu", "gnu"]
    monkeypatch.setattr(datasets, "load_split", lambda name: {"train": train, "dev": dev, "test": test})
    changes.append("data.name=cmudict")
    assert build.sources_to_teach(recipes.load(file, changes), train, dev) == ["gnu"]


def test_a_recipe_builds_the_same_model_twice(file: Path):
    recipe = recipes.load(file, ["config.units=4", "config.embedding_size=4", "seed=7"])
    pairs = [Pair("cat", "K AE T"), Pair("act", "AE K T")]
    first, second = (build.build_model(recipe, *build.train_tokenizers(recipe, pairs)) for _ in range(2))
    for left, right in zip(first.get_weights(), second.get_weights(), strict=True):
        assert (left == right).all()


@pytest.mark.parametrize(
    ("decay", "progress", "factor"),
    [("none", 0.7, 1.0), ("linear", 0.25, 0.75), ("cosine", 0.0, 1.0), ("cosine", 0.5, 0.5), ("linear", 2.0, 0.0)],
)
def test_decay(decay: str, progress: float, factor: float):
    assert build.decayed(decay, progress) == pytest.approx(factor)


# === CMUdict ===


def test_variants_become_alternatives_and_comments_go():
    lines = ["read R EH1 D", "read(2) R IY1 D # past", "", "# note", "dup D", "dup(2) D", "aalto AA1 L T OW2 # name"]
    assert cmudict.parse(lines) == [
        Pair("read", "R EH1 D", ("R IY1 D",)),
        Pair("dup", "D"),
        Pair("aalto", "AA1 L T OW2"),
    ]


def test_the_installed_dictionary_is_split_by_word():
    parts = cmudict.load_split()
    words = {part: {pair.source for pair in pairs} for part, pairs in parts.items()}
    assert sum(map(len, parts.values())) == len(set.union(*words.values())) > 120_000
    assert all(split_of(word) == "test" for word in words["test"])
    assert 0.045 < len(parts["test"]) / 126_000 < 0.055
    phones = {
        phone for pairs in parts.values() for pair in pairs for target in pair.targets for phone in target.split()
    }
    assert "AH0" in phones
    assert not any("#" in phone or "(" in phone for phone in phones)


# === How a recipe trains ===


def test_feeding_and_curriculum_are_what_the_recipe_names(file: Path):
    sets = ["feeding={name: scheduled_sampling, decay: {name: inverse_sigmoid, k: 2e3}, feedback: argmax}", "seed=4"]
    feeding = build.feeding(recipes.load(file, sets))
    assert isinstance(feeding, ScheduledSampling)
    assert (feeding.decay.k, feeding.feedback, feeding.seed) == (2000.0, "argmax", 4)
    assert build.feeding(recipes.load(file)) is None
    assert build.feeding(recipes.load(file, ["feeding.name=free_running"])).get_config() == {}
    ratio = build.feeding(recipes.load(file, ["feeding={name: teacher_forcing_ratio, ratio: 0.5, seed: 9}"]))
    assert ratio.get_config() == {"ratio": 0.5, "per": "sequence", "seed": 9}
    recipe = recipes.load(file, ["curriculum={steps: 500, initial: 2e-1}"])
    assert build.curriculum(recipe) == ShortFirst(500, 0.2)
    assert recipes.from_dict(recipes.to_dict(recipe)) == recipe
    assert build.curriculum(recipes.load(file)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("feeding={name: sampling}", r"`feeding\.name` must be one of .*Did you mean"),
        ("feeding={decay: 3}", r"`feeding\.name` must be one of"),
        ("feeding={name: free_running, ratio: 1}", r"unknown key `feeding\.ratio`\. Known: none"),
        ("feeding={name: teacher_forcing_ratio, ration: 1}", r"Did you mean `ratio`\?"),
        ("feeding={name: teacher_forcing_ratio, ratio: 2}", r"recipe, `feeding`: ratio must be in \[0, 1\]"),
        (
            "feeding={name: teacher_forcing_ratio, ratio: half}",
            "recipe, `feeding`: teacher_forcing_ratio does not take",
        ),
        ("feeding={name: teacher_forcing_ratio}", "recipe, `feeding`: teacher_forcing_ratio does not take"),
        (
            "feeding={name: scheduled_sampling, decay: {name: linear, c: 0}}",
            r"recipe, `feeding\.decay`: c of LinearDecay",
        ),
        ("feeding={name: scheduled_sampling, decay: {name: linear, d: 0}}", r"unknown key `feeding\.decay\.d`"),
    ],
)
def test_a_wrong_feeding_is_refused_before_any_work(file: Path, change: str, message: str):
    with pytest.raises(ConfigError, match=message):
        build.check(recipes.load(file, [change]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("config.attention=dott", "attention must be one of dot, general, concat"),
        ("architecture=series2series", "reads or writes vectors"),
        ("architecture=listen_attend2016", "reads or writes vectors"),
    ],
)
def test_what_cannot_be_built_from_text_is_refused_before_any_work(change: str, message: str):
    with pytest.raises(ConfigError, match=message):
        build.check(recipes.load("g2p_luong2015", [change, *(["config={}"] if "architecture" in change else [])]))

"""`report.py` from the command line: what it writes, what it refuses, and that it never fails a study."""

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from fake_studies import Studies
from fake_study_records import FakeStudy
from helpers import run_command
from terrablate.commands import hydra_command
from terrablate.config.choices import PROJECT
from terrablate.errors import UserError
from terrablate.report import command
from terrablate.report.command import write_after_study, write_run, write_runs, write_study
from terrablate.report.settings import with_study_named

SCRIPT = PROJECT / "src" / "report.py"
WRITTEN = {"report.html", "report.md", "effects.csv", "effects.tex", "summary.md"} | {
    f"{name}.{end}" for name in ("effects", "curves") for end in ("png", "svg")
}
NOT_FOR_HELP = ("torch", "lightning", "torchgeo", "timm", "rasterio", "matplotlib", "plotly", "scipy")
NOT_FOR_A_PAGE = ("torch", "lightning", "torchgeo", "timm", "rasterio", "sklearn")


def told(patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Call the command in this process: its exit status and what it said of errors."""
    import runpy

    report = runpy.run_path(str(SCRIPT))["report"]
    patch.setattr(sys, "argv", ["report.py", *with_study_named(words)])
    return hydra_command(report, "report", sweeps=False), capsys.readouterr().err


def test_help_is_quick_and_names_all_keys(tmp_path: Path) -> None:
    done = run_command("report", tmp_path, "--help", without=NOT_FOR_HELP)
    assert (done.returncode, done.stderr) == (0, "")
    for key in ("study", "runs", "run", "output", "watch", "every", "studies_dir"):
        assert f"\n  {key}: " in done.stdout
    assert "groups and choices" not in done.stdout


def test_a_study_is_written_from_any_folder_without_torch(tmp_path: Path) -> None:
    home = FakeStudy(tmp_path).write()
    done = run_command("report", tmp_path, "study=fake", "studies_dir=studies", without=NOT_FOR_A_PAGE)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in home.iterdir()} >= WRITTEN
    first, second = done.stdout.splitlines()
    assert "none" in first
    assert re.fullmatch(r"page +studies/fake/report\.html \(\d\.\d MB\)", second)


def test_mistakes_are_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeStudy(tmp_path, name="first", variants=["a"], seeds=[0]).write()
    FakeStudy(tmp_path, name="second", variants=["a"], seeds=[0]).write()
    (tmp_path / "studies" / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{}")
    studies = f"studies_dir={tmp_path / 'studies'}"
    for words, sentence in (
        ((), "give one of study=NAME, runs=FOLDER and run=FOLDER; none of them was given"),
        (("study=first", "run=x"), "study and run was given"),
        (("study=third", studies), "study=third: no such study in .*; there are first, second"),
        (("study=empty", studies), "its folder is there, without study.yaml"),
        (("study=x", f"studies_dir={tmp_path}/none"), "no such study in .*; there is none"),
        (("watchh=1",), r"watchh: there is no such key \(did you mean watch\?\)"),
        (("study=first", "watch=maybe"), "watch=maybe: expected true or false"),
        (("study=first", "every=0"), "every=0: expected"),
        (("study=first", "wandb=me"), "wandb=me: expected entity/project"),
        (("run=x", "wandb=me/mine"), "a workspace is of a study"),
        (("model=lenet",), "model: there is no such key"),
        ((f"run={tmp_path}/nowhere",), "there is no such folder"),
        ((f"run={tmp_path}/begun",), "has not ended"),
        ((f"runs={tmp_path}/x*",), "no run is there"),
        (("study=first", studies, f"output={tmp_path}/begun/run.json/x"), "cannot be written"),
    ):
        status, said = told(monkeypatch, capsys, *words)
        assert status == 2, words
        assert re.search(sentence, said), said
        assert said.startswith("error: ")


def test_an_empty_plan_is_an_error_and_a_corrupt_record_is_named(tmp_path: Path) -> None:
    study = FakeStudy(tmp_path)
    home = study.write()
    (study.run_folder(1, 1) / "result.json").write_text("{")
    (study.run_folder(0, 0) / "metrics.csv").write_bytes(b"\xff\xfe")
    written = write_study(home, tmp_path / "out")
    page = written.page.read_text(encoding="utf-8")
    assert "run-v1-s1/result.json" in page
    assert "run-v0-s0/metrics.csv" in page
    assert any("run-v1-s1" in problem for problem in written.problems)
    assert "9 runs: 8 complete, 1 damaged" in page
    (home / "plan.json").write_text("[]")
    (home / "runs.csv").write_text("variant,seed,status\n")
    with pytest.raises(UserError, match="names a run of this study"):
        write_study(home, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": [4]}, "No intervals|1 seed"),
        ({"variants": ["only"]}, "one variant only"),
        ({"ends": {(v, s): "failed" for v in ("none", "flip", "mixup") for s in range(3)}}, "no run has ended well"),
        ({"ends": {("flip", s): "diverged" for s in range(3)}}, "6 complete, 3 diverged"),
        ({"ends": {("none", 0): "planned"}}, "8 complete, 1 not ended yet"),
        ({"several": True}, '"several":true'),
        ({"synthetic": True}, "SYNTHETIC DATA"),
        ({"pictures": 0, "robust": False}, "none"),
    ],
)
def test_odd_studies_have_a_page_and_markdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], sentence: str
) -> None:
    if not {"seeds", "ends"} & set(changes):  # of these, figures tell nothing new
        monkeypatch.setattr(command, "_pictures", lambda *_: {})
    study = FakeStudy(tmp_path, **changes)  # type: ignore[arg-type]
    home = study.write()
    written = write_study(home, home)
    shown = written.page.read_text(encoding="utf-8")
    assert re.search(sentence, shown.split("<script>")[0])
    assert (home / "report.md").read_text(encoding="utf-8").startswith("# Which trick helps?")
    assert written.sentence


def test_names_are_text_in_the_page_and_in_markdown(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    study = FakeStudy(tmp_path, question=evil, variants=("none", evil), classes=(evil, "b", "c"))
    home = study.write()
    html = write_study(home, home).page.read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert html.count("<script") == 3  # the data, Plotly's and ours
    assert "<script>" not in (home / "report.md").read_text(encoding="utf-8")
    assert "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-" in html.replace(
        "&#39;", "'"
    )


def test_figures_and_openings_reach_the_page(tmp_path: Path) -> None:
    home = FakeStudy(tmp_path).write()
    (home / "test_openings.csv").write_text("time,who\n2026-01-01,me\n2026-01-02,me\n")
    html = write_study(home, home).page.read_text(encoding="utf-8")
    assert "test split opened twice" in html
    with Image.open(home / "effects.png") as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    markdown = (home / "report.md").read_text(encoding="utf-8")
    assert "![Differences of val accuracy with their intervals](effects.png)" in markdown
    assert "| flip | +5." in markdown or "| flip | +6." in markdown or "| flip | +7." in markdown


def test_runs_without_a_study_are_compared(tmp_path: Path) -> None:
    study = FakeStudy(tmp_path, variants=("none", "flip"))
    study.write()
    folders = [study.run_folder(place, seed) for place in range(2) for seed in range(3)]
    html = write_runs(folders, tmp_path / "out").page.read_text(encoding="utf-8")
    assert "aug=flip" in html
    assert "../runs/run-v0-s0" in html


def test_the_page_of_a_run_shows_what_was_explained(tmp_path: Path) -> None:
    study = FakeStudy(tmp_path)
    study.write()
    folder = study.run_folder(1, 0)
    before = write_run(folder, folder).page.read_text(encoding="utf-8")
    assert "What it learnt" not in before
    (folder / "explain").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "explain" / "gradcam.png")
    (folder / "explain" / "index.json").write_text(
        '[{"file": "gradcam.png", "title": "Grad-CAM <b>", "caption": "where it looks"}, {"file": "gone.png"}]'
    )
    (folder / "explain" / "reasons.json").write_text('[{"method": "filters", "reason": "No filters: <i>why</i>."}]')
    after = write_run(folder, folder).page.read_text(encoding="utf-8")
    assert "Grad-CAM &lt;b&gt;" in after
    assert "where it looks" in after
    assert "No filters: &lt;i&gt;why&lt;/i&gt;." in after
    assert after.count("data:image/png") == before.count("data:image/png") + 1
    assert not (folder / "effects.csv").exists()


def test_the_page_of_a_large_study_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = FakeStudy(tmp_path, variants=[f"v{number}" for number in range(10)], seeds=range(5), epochs=100, images=200)
    home = study.write()
    empty = FakeStudy(tmp_path, name="small", variants=["v0"], seeds=[0], epochs=1, pictures=0)
    monkeypatch.setattr(command, "_pictures", lambda *_: {})
    size, least = (write_study(each, each).page.stat().st_size for each in (home, empty.write()))
    assert least + 10 * (size - least) < 15e6  # 500 runs of 100 epochs


def test_watching_writes_anew_when_a_run_ends_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = FakeStudy(tmp_path, ends={("flip", 2): "planned"}, pictures=0)
    home = study.write()
    looks, live = [], []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        live.append('data-reload="7"' in (home / "report.html").read_text(encoding="utf-8"))
        if len(looks) == 2:
            study.ends = {}
            study.write()
        if len(looks) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", sleep)
    monkeypatch.setattr(command, "_pictures", lambda *_: {})
    status, said = told(monkeypatch, capsys, f"study={home}", "watch=true", "every=7")
    assert (status, looks, live) == (0, [7, 7, 7, 7], [True] * 4)
    assert "watching" in said
    html = (home / "report.html").read_text(encoding="utf-8")
    assert "9 runs: 9 complete" in html
    assert 'data-reload=""' in html


def test_the_workspace_of_a_study_is_made_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = FakeStudy(tmp_path, variants=["a"], seeds=[0], pictures=0).write()
    monkeypatch.setattr(command, "_pictures", lambda *_: {})
    saved = []

    def save(study: Path, entity: str, project: str) -> str:
        saved.append((study, entity, project))
        return "https://wandb.ai/me/mine"

    monkeypatch.setattr("terrablate.study.workspace.save_workspace", save)
    status, _ = told(monkeypatch, capsys, f"study={home}", "wandb=me/mine")
    assert (status, saved) == (0, [(home, "me", "mine")])


def test_a_page_that_cannot_be_drawn_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    after_study = write_after_study  # before the stand-in of the fake studies takes its place
    studies = Studies(tmp_path, monkeypatch)
    monkeypatch.setattr("terrablate.report.command.write_after_study", after_study)
    words = ("-m", "study.name=s", "data=synthetic", "aug=none,flip", "seed=0,1")
    assert studies(*words) == 0
    assert (tmp_path / "studies" / "s" / "report.html").is_file()
    assert "page          " in capsys.readouterr().out
    monkeypatch.setattr("terrablate.report.command.write_answered", lambda *_: 1 / 0)
    assert studies(*words) == 0
    assert "warning: the page of the study could not be drawn: ZeroDivisionError" in capsys.readouterr().err

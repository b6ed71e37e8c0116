"""A run's page: it says what the files say, in any state of the run, within bounds, and nothing in it runs but the page's own script."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shlex
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

import train
from gen.report.curves import BUCKETS, line_chart, scatters, share_chart, smoothed, thinned, wants_log
from gen.report.page import run_page
from gen.report.pictures import MAX_LARGE_PIXELS, MAX_STEPS
from gen.report.reader import in_words, read_metrics, read_run
from scripts import report
from tests.one_step import composed
from tests.report.toy_run import write_json, write_run

HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>&amp;\\1 {{ 7*7 }} \ud800"


class Elements(HTMLParser):
    """What a page consists of: (tag, attributes), the words between them, and the scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words, self.scripts = "", []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.found[-1:] and self.found[-1][0] == "script":
            self.scripts.append(data)
        self.words += f"{data} "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def picture_of(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_the_page_says_what_the_files_say(tmp_path):
    page = Elements(run_page([write_run(tmp_path / "toy")]))
    for words in ("toy", "first", "second", "finished", "Step 40 of 40", "python train.py +mode=tiny 'tags=[first,second]'", "a toy"):
        assert words in page.words
    for words in ("29.30 dB", "87.5 %", "36.87 dB", "scenes: 8", "learning_rate", "0.001"):
        assert words in page.words
    charts = [attributes["aria-label"] for attributes in page.all("svg")]
    assert "loss: from 2 at step 10 to 0.5 at step 40" in charts
    assert "Share of the time: forward 75%, data 25%" in charts
    assert len(charts) == 6  # loss, two of the optimisation, tokens, rate, and the sections as one
    alts = [attributes["alt"] for attributes in page.all("img")]
    assert sorted(alts) == sorted(
        [f"{name} at step {step}" for name in ("edits", "position_sweep") for step in (10, 20)] + ["edited scenes of the evaluation of toy"]
    )
    newest = next(attributes["src"] for attributes in page.all("img") if attributes["alt"] == "edits at step 20")
    assert picture_of(newest).convert("RGB").getpixel((0, 0)) == pytest.approx((20, 80, 120), abs=3)


def test_every_id_of_the_page_is_there_once_and_every_link_leads_to_one(tmp_path):
    page = Elements(run_page([write_run(tmp_path / "one"), write_run(tmp_path / "two", num_lines=600, exp="two")]))
    ids = [str(attributes["id"]) for _, attributes in page.found if "id" in attributes]
    links = {str(attributes[name])[1:] for _, attributes in page.found for name in ("href", "xlink:href") if name in attributes}
    assert len(set(ids)) == len(ids)
    assert {link for link in links if not link.startswith("ata:")} <= set(ids)
    clips = {clip for _, attributes in page.found for clip in re.findall(r"url\(#(.*?)\)", str(attributes.get("clip-path")))}
    assert clips and clips <= set(ids)


def test_nothing_lies_outside_the_page_and_only_its_own_script_may_run(tmp_path):
    page = Elements(run_page([write_run(tmp_path / "toy")]))
    links = [value for _, attributes in page.found for name, value in attributes.items() if name in ("src", "href", "xlink:href", "action")]
    assert all(str(link).startswith(("#", "data:")) for link in links)
    policy = next(attributes["content"] for attributes in page.all("meta") if attributes.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    assert "script-src 'sha256-" in str(policy)


def test_what_a_run_says_is_text_wherever_it_stands(tmp_path):
    plain = Elements(run_page([write_run(tmp_path / "plain", previews=())]))
    folder = write_run(tmp_path / "run", previews=(), exp=HOSTILE, tags=[HOSTILE, HOSTILE], seed={HOSTILE: HOSTILE}, status="failed")
    write_json(
        folder / "status.json", {"status": HOSTILE, "message": HOSTILE, "global_step": 40, "max_train_steps": 40, "updated": HOSTILE}
    )
    write_json(folder / "start.json", {"words": [HOSTILE], "started": HOSTILE, "hardware": HOSTILE, "versions": {HOSTILE: HOSTILE}})
    (folder / "evaluation" / "figures.md").write_text(f"| {HOSTILE[:-1]} | b |\n|---|---|\n| {HOSTILE[:-1]} | c |\n\n- {HOSTILE[:-1]}\n")
    lines = (folder / "metrics.jsonl").read_text().replace('"loss"', json.dumps(HOSTILE)).replace("seconds/data", "seconds/<b>")
    (folder / "metrics.jsonl").write_text(lines)
    Image.new("RGB", (8, 8)).save(folder / "previews" / "step_00000001_<img onerror=alert(1)>.png")
    for page in (Elements(run_page([folder])), Elements(run_page([folder, tmp_path / "plain"]))):
        assert page.scripts == plain.scripts
        assert not [name for _, attributes in page.found for name in attributes if name.startswith("on")]
        assert {attributes["src"][:11] for attributes in page.all("img")} == {"data:image/"}
        assert page.words.count("alert('x')") >= 8
        assert "{{ 7*7 }}" in page.words


def test_thinning_keeps_the_extremes_and_the_ends():
    rng = np.random.default_rng(0)
    values = rng.standard_normal(100_000).cumsum()
    values[[777, 55_555]] = [1e4, -1e4]
    steps, kept = thinned(np.arange(100_000.0), values)
    assert len(kept) <= 2 * BUCKETS + 2
    assert (kept.max(), kept.min()) == (1e4, -1e4)
    assert (steps[0], steps[-1], kept[0], kept[-1]) == (0, 99_999, values[0], values[-1])
    assert (np.diff(steps) > 0).all()
    assert np.array_equal(values[steps.astype(int)], kept)
    few = np.arange(2.0 * BUCKETS)
    assert thinned(few, few)[1] is few


def test_the_running_mean_is_a_mean():
    assert smoothed(np.full(100, 3.0)) == pytest.approx(np.full(100, 3.0))
    line = np.arange(300.0)
    assert smoothed(line)[20:-20] == pytest.approx(line[20:-20])
    noise = np.random.default_rng(0).standard_normal(3000)
    assert smoothed(noise).std() < 0.2 * noise.std()


def test_only_what_scatters_is_smoothed():
    steps = np.arange(1000.0)
    warmup = np.minimum(1.0, steps / 10) * np.cos(steps / 640)
    noise = 0.1 * np.random.default_rng(0).standard_normal(1000)
    assert not scatters(warmup)
    assert scatters(warmup + noise)
    assert not scatters(noise[:59])
    for values, count in ((warmup, 1), (warmup + noise, 2)):
        assert line_chart({0: (steps, values)}, 1000.0, "").count("var(--s0)") == count


def test_an_axis_is_logarithmic_where_half_of_a_curve_would_lie_at_the_bottom():
    steps = np.arange(1001.0)
    decay, cosine = np.exp(-steps / 200), 1e-3 * (1 + np.cos(np.pi * steps / 1001)) / 2
    assert wants_log([(steps, decay)])
    assert not wants_log([(steps, cosine)])  # it ends near zero, but little of it lies there
    assert wants_log([(steps, cosine), (steps, cosine / 100)])
    assert not wants_log([(steps, decay - decay[-1])])
    assert ">log</text>" in line_chart({0: (steps, decay)}, 1000.0, "decay")
    assert ">log</text>" not in line_chart({0: (steps, cosine)}, 1000.0, "cosine")


def test_ticks_are_short():
    steps = np.array([0.0, 120_000.0])
    drawn = line_chart({0: (steps, np.array([0.0, 4e-5]))}, 120_000.0, "")
    ticks = re.findall(r">([^<>]+)</text>", drawn)
    assert {"0", "50k", "100k"} <= set(ticks)
    assert {"2e-5", "4e-5"} <= {tick.replace("\N{MINUS SIGN}", "-") for tick in ticks}


def test_charts_keep_text_as_text_and_take_the_pages_colours():
    steps = np.arange(50.0)
    drawn = line_chart({0: (steps, steps + 1), 3: (steps[:1], steps[:1] + 5)}, 60.0, 'a "b" \\1')
    assert drawn.startswith('<svg viewBox="0 0 208.8 126" role="img" aria-label="a &quot;b&quot; \\1">')
    assert "<text" in drawn
    assert {"var(--s0)", "var(--s3)", "var(--muted)", "var(--grid)"} <= set(drawn.replace(";", '"').replace(" ", '"').split('"'))
    assert not [word for word in ("<style", "font-family", "#0", "<!", "http") if word in drawn.replace('href="#', "")]
    assert drawn == line_chart({0: (steps, steps + 1), 3: (steps[:1], steps[:1] + 5)}, 60.0, 'a "b" \\1')
    assert "100%" in share_chart(steps[:1], [steps[:1] + 1, steps[:1] + 2], 60.0, "shares")


@pytest.mark.parametrize(
    ("said", "word", "sentence"),
    [
        ({"status": "finished"}, "finished", "is done"),
        ({"status": "trained"}, "trained", "has not ended"),
        ({"status": "failed", "message": "global step 7: loss nan"}, "failed", "global step 7: loss nan"),
        ({"status": "requeue", "message": "stopped by SIGTERM"}, "interrupted", "stopped by SIGTERM"),
        ({"status": "running"}, "stopped", "no process on this machine trains"),
        (None, "not begun", "No status was written"),
    ],
)
def test_how_a_run_is_stands_in_words(tmp_path, said, word, sentence):
    folder = write_run(tmp_path / "toy")
    (folder / "status.json").unlink()
    if said:
        write_json(folder / "status.json", said)
    told, more = in_words(read_run(folder))
    assert told == word
    assert sentence in more


def test_a_run_that_is_training_says_so_and_its_unfinished_line_is_left_for_later(tmp_path, repository):
    folder = write_run(tmp_path / "toy", status="running")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"global_step": 50, "lo')
    hold = "import sys, gen.run_files as f; held = f.hold(__import__('pathlib').Path(sys.argv[1])); print('held', flush=True); input()"
    command = [sys.executable, "-c", hold, str(folder / "lock")]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout.readline() == "held\n"
        run = read_run(folder)
        holder.communicate("\n")
    assert in_words(run) == ("running", "A process is training in the folder; this page is how far it had come.")
    assert (run.metrics.damaged, run.global_step) == (0, 40)


def test_a_run_that_has_just_begun_has_a_page(tmp_path):
    for config in ({"exp": "young"}, {}):
        write_json(tmp_path / "config.json", config)
        page = Elements(run_page([tmp_path]))
        assert "Not recorded" in page.words
        assert not page.all("svg") + page.all("img")


def test_damage_is_skipped_and_told(tmp_path):
    folder = write_run(tmp_path / "toy")
    (folder / "status.json").write_text("{")
    (folder / "previews" / "step_00000020_edits.png").write_bytes(b"no picture")
    lines = (folder / "metrics.jsonl").read_text()
    damaged = ["{", "[1]", '{"loss": 1}', "\x00", '{"global_step": NaN, "loss": 1}', "[" * 100_000, '{"global_step": 1e300}']
    partly = '{"global_step": 45, "loss": NaN, "grad_norm": "high", "held": true}\n'
    (folder / "metrics.jsonl").write_text("\n".join(damaged) + "\n" + lines + partly)
    words = Elements(run_page([folder])).words
    assert "7 damaged lines of metrics.jsonl are skipped" in words
    assert "status.json: damaged" in words
    assert "step_00000020_edits.png" in words
    metrics = read_metrics(folder / "metrics.jsonl")
    assert metrics.steps.tolist() == [10, 20, 30, 40, 45]
    assert metrics.values["loss"][:4].tolist() == [2.0, 1.0, 2 / 3, 0.5]
    assert np.isnan(metrics.values["loss"][4])
    assert "held" not in metrics.values


def test_a_long_run_makes_a_small_page(tmp_path):
    folder = write_run(tmp_path / "toy", num_lines=5000, previews=())
    Image.linear_gradient("L").resize((9600, 1600)).save(tmp_path / "large.png", compress_level=1)
    Image.effect_noise((200, 100), 60).save(tmp_path / "small.png")
    for step in range(1, 1001):
        for name in ("edits", "position_sweep"):
            os.link(tmp_path / "small.png", folder / "previews" / f"step_{step:08d}_{name}.png")
    os.link(tmp_path / "large.png", folder / "previews" / "step_00001001_edits.png")
    text = run_page([folder])
    assert len(text) < 4_000_000
    page = Elements(text)
    shown = [attributes for attributes in page.all("img") if attributes["alt"].startswith("edits at")]
    steps = sorted(int(attributes["alt"].split()[-1]) for attributes in shown)
    assert (len(steps), steps[0], steps[-1]) == (MAX_STEPS, 1, 1001)
    assert np.ptp(np.diff(steps)) <= 1
    assert "Earlier steps: 11 of 1000" in page.words
    newest = picture_of(shown[0]["src"])
    assert newest.width * newest.height <= MAX_LARGE_PIXELS * 1.01
    assert newest.width == pytest.approx(6 * newest.height, rel=0.01)


def test_several_runs_stand_beside_one_another(tmp_path):
    one = write_run(tmp_path / "one", exp="one", trainer={"max_train_steps": 40, "learning_rate": 0.001})
    two = write_run(tmp_path / "two", exp="two", num_lines=3, trainer={"max_train_steps": 40, "learning_rate": 0.01})
    table = (two / "evaluation" / "figures.md").read_text()
    (two / "evaluation" / "figures.md").write_text(
        table.replace("29.30", "31.50").replace("| move | identity, mean | 87.5 % | 93.2 % |\n", "")
    )
    text = run_page([one, two])
    page = Elements(text)
    rows = [" ".join(Elements(row.partition("</tr>")[0]).words.split()) for row in text.split("<tr>")[1:]]
    assert rows[:3] == ["key one two", 'exp "one" "two"', "trainer.learning_rate 0.001 0.01"]
    assert rows[-6:-2] == ["figure one two", "move", "picture, PSNR, mean 29.30 dB 31.50 dB", "identity, mean 87.5 % -"]
    told = "loss: from 2 at step 10 to 0.5 at step 40; from 2 at step 10 to 0.6667 at step 30"
    assert told in [attributes["aria-label"] for attributes in page.all("svg")]
    assert {"edits of one at step 20", "edits of two at step 20"} <= {attributes["alt"] for attributes in page.all("img")}


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    one, two = write_run(tmp_path / "one"), write_run(tmp_path / "two")
    words = Elements(run_page([one, two])).words
    assert str(one) in words
    assert str(two) in words


def test_the_command_starts_as_many_processes_in_the_same_folder_and_environment(tmp_path):
    folder = write_run(tmp_path / "toy")
    words = ["../train.py", "+mode=tiny", "dataset.validation_prompt=it's a $HOME"]
    write_json(folder / "start.json", {"words": words, "working_directory": "/elsewhere/here", "environment": {"OMP_NUM_THREADS": "2"}})
    command = read_run(folder).command
    assert command.startswith("env OMP_NUM_THREADS=2 python ../train.py +mode=tiny ")
    assert shlex.split(command)[3:] == words
    assert "In /elsewhere/here." in Elements(run_page([folder])).words
    write_json(folder / "start.json", {"words": ["train.py"], "num_processes": 16, "num_machines": 2, "working_directory": "/work"})
    launch = "python -m accelerate.commands.launch --multi_gpu --num_processes 16 --num_machines 2"
    assert read_run(folder).command == f"{launch} --machine_rank RANK --main_process_ip ADDRESS --main_process_port PORT train.py"
    assert "on each of 2 machines" in Elements(run_page([folder])).words
    write_json(folder / "start.json", {"words": ["train.py"], "num_processes": 1, "first_num_processes": 4})
    assert "begun with --num_processes 4" in Elements(run_page([folder])).words
    write_json(folder / "start.json", {"words": []})  # a notebook
    assert "Not recorded: no script started it" in Elements(run_page([folder])).words


def test_the_command_of_a_page_composes_the_runs_config(tiny_run):
    shown = shlex.split(unescape(run_page([tiny_run]).partition('<code class="command">')[2].partition("</code>")[0]))
    script = next(place for place, word in enumerate(shown) if word.endswith("train.py"))
    assert shown[0] == "env" and "ACCELERATE_USE_CPU=true" in shown[:script] and shown[script - 1] == "python"
    working_directory = Path(json.loads((tiny_run / "start.json").read_text())["working_directory"])
    assert (working_directory / shown[script]).resolve() == (Path(train.__file__)).resolve()
    config = OmegaConf.to_container(composed(*shown[script + 1 :]), resolve=True)
    assert config == json.loads((tiny_run / "config.json").read_text())


def test_a_run_that_went_on_says_from_where_and_figures_of_another_command_say_so(tmp_path):
    folder = write_run(tmp_path / "toy", evaluation={"num_scenes": 8})
    write_json(folder / "start.json", {"words": ["train.py"], "started": "2026-11-22T00:31:32+00:00", "global_step": 1200})
    for number in (99_999_999, 100_000_000):
        (folder / "state" / f"step_{number:08d}").mkdir(parents=True)
    words = Elements(run_page([folder])).words
    assert "2026-11-22 00:31:32+00:00, from step 1,200" in words
    assert "2, the newest of step 100,000,000" in words
    assert "by another command" not in words
    write_json(folder / "config.json", json.loads((folder / "config.json").read_text()) | {"evaluation": None})
    assert "by another command than the one above, which asks for no evaluation" in Elements(run_page([folder])).words


def test_panels_stand_in_the_configs_order(tmp_path):
    folder = write_run(tmp_path / "toy")
    panels = ["position_sweep", "interpolation", 3, "position_sweep"]
    write_json(folder / "config.json", json.loads((folder / "config.json").read_text()) | {"previews": {"panels": panels}})
    assert list(read_run(folder).previews) == ["position_sweep", "edits"]


def test_the_script_writes_into_the_run_or_where_it_is_told(tmp_path, capsys):
    one, two = write_run(tmp_path / "one"), write_run(tmp_path / "two")
    assert report.main([str(one)]) == 0
    assert capsys.readouterr().out.strip() == str(one / "report.html")
    assert report.main([str(one), str(two), "--out", str(tmp_path / "pages" / "both.html")]) == 0
    assert "2 runs" in (tmp_path / "pages" / "both.html").read_text()
    with pytest.raises(SystemExit) as refused:
        report.main([str(one), str(two)])
    assert refused.value.code == 2


def test_what_is_no_run_is_refused_with_the_remedy(tmp_path, capsys):
    one = write_run(tmp_path / "one")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("[]")
    for runs, said in (
        ([tmp_path / "nowhere"], "nowhere: does not exist; give the folder of a run"),
        ([tmp_path], "holds no config.json; give the folder of a run"),
        ([tmp_path / "damaged"], "damaged (no JSON object); restore it"),
        ([one, one], "a run is given twice"),
        ([one] * 9, "9 runs: a page shows 1 to 8"),
    ):
        assert report.main([*map(str, runs), "--out", str(tmp_path / "page.html")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
    assert report.main([str(one), "--out", str(one / "config.json" / "page.html")]) == 2
    assert "say with --out where the page can be written" in capsys.readouterr().err


def test_the_script_needs_neither_torch_nor_diffusers(tmp_path, repository):
    folder = write_run(tmp_path / "toy")
    program = "import sys; from scripts import report; code = report.main(sys.argv[1:]); print(code, 'torch' in sys.modules)"
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(repository)}, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"

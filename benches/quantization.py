"""What keeping weights in fewer bits does to the scores of the demo's models.

    python3 benches/quantization.py --save results/quantization.md

Scores the five models of the demo and their uniform average with `mergekit score`, once for each form of
`--dtype`, and writes a table of the scores beside those with float32. Needs nothing but Python.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEMO = ROOT / "examples" / "demo"
TASKS = ["addition", "sorting", "reversal", "dates"]
SPECIALISTS = ["adder", "sorter", "reverser", "dater"]
FORMS = {"f32": 32.0, "f16": 16.0, "q8_0": 8.5, "q4_0": 4.5, "q4_k": 4.5}
METRIC = "exact_match,none"


def score(program, model, form):
    """Share of right answers on each task."""
    command = [program, "score", model, "--tasks", ",".join(TASKS), "--include-path", ROOT / "evaluators",
               "--dtype", form, "--bootstrap-iters", "0", "--json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, check=True)
    results = json.loads(done.stdout)["results"]
    return [results[task][METRIC] for task in TASKS]


def uniform_average(directory):
    """A config that averages the specialists."""
    path = pathlib.Path(directory) / "uniform.yml"
    models = "".join(f"  - {{model: {DEMO / name}, parameters: {{weight: 0.25}}}}\n" for name in SPECIALISTS)
    path.write_text(f"merge_method: linear\ndtype: float32\nmodels:\n{models}")
    return path


def table(program):
    lines = ["| model | form | bits | " + " | ".join(TASKS) + " | mean | shift |",
             "| --- | --- | ---: |" + " ---: |" * (len(TASKS) + 2)]
    with tempfile.TemporaryDirectory() as directory:
        models = {name: DEMO / name for name in ["base", *SPECIALISTS]}
        models["uniform average"] = uniform_average(directory)
        for name, path in models.items():
            exact = None
            for form, bits in FORMS.items():
                scores = score(program, path, form)
                mean = sum(scores) / len(scores)
                exact = mean if exact is None else exact
                cells = [f"{value:.3f}" for value in scores] + [f"{mean:.4f}", f"{mean - exact:+.4f}"]
                lines.append(f"| {name} | {form} | {bits:g} | " + " | ".join(cells) + " |")
                print(lines[-1], flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=ROOT / "target" / "release" / "mergekit")
    parser.add_argument("--save", type=pathlib.Path, help="file for the table")
    options = parser.parse_args()
    lines = table(options.program)
    if options.save:
        options.save.write_text("\n".join([
            "# Scores with weights in fewer bits", "",
            "Share of right answers of the demo's models (300 items a task), by the form in which weights are kept.",
            "`shift` is the change of the mean against float32; the standard error of a mean is about 0.01. Blocks of",
            "`q4_k` are 256 long; the rows of these small models are not, so that it keeps them in 16 bits.", "",
            "Made by `python3 benches/quantization.py --save results/quantization.md`.", "", *lines, ""]))


if __name__ == "__main__":
    main()

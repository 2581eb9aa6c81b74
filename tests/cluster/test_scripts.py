"""The shell scripts: shellcheck, dry runs with stand-ins for Slurm and for the program, and two real nodes (slow)."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
SCRIPTS = sorted(CLUSTER.glob("*.sh"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these run where clusters do, on Linux")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    told = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout
    assert script.stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_nothing_is_ended_by_name(script):
    """Other Rays and other people's processes on a machine are left alone."""
    assert not re.search(r"\b(pkill|killall|ray[\"']? stop)\b", script.read_text())


def command(folder, name, body):
    """A stand-in for a command, which notes its words in a line of its own file."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/bash\n(echo $*) >>"{folder / name}.said"\n{body}\n')
    path.chmod(0o755)
    return path


def said(path):
    file = path.with_name(path.name + ".said")
    return file.read_text().splitlines() if file.exists() else []


class TestTrainOrResume:
    @pytest.fixture
    def program(self, tmp_path):
        return command(tmp_path / "bin", "program", "exit ${CODE:-0}")

    def start(self, program, *words, code=0):
        environment = {**os.environ, "DISTRIBUTED_KD": str(program), "CODE": str(code)}
        script = CLUSTER / "train_or_resume.sh"
        return subprocess.run([script, *map(str, words)], env=environment, capture_output=True, text=True).returncode

    def test_it_trains_where_nothing_is(self, program, tmp_path):
        assert self.start(program, tmp_path / "run", "cartpole", "--seed", "1", code=9) == 9
        assert said(program) == [f"train cartpole --seed 1 --out {tmp_path}/run"]

    def test_it_goes_on_from_a_checkpoint_with_the_words_that_resume_takes(self, program, tmp_path):
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "config.toml").write_text('to = ""\n')
        (tmp_path / "checkpoints" / "LATEST").write_text("step-1\n")
        words = ("my.toml", "--seed", "1", "--address", "auto", "--allow-env-import", "--env.flatten", "true", "--chaos=x")
        self.start(program, tmp_path, *words, "--runner", "ray")
        assert said(program) == [f"resume {tmp_path} --address auto --allow-env-import --chaos=x --runner ray"]

    def test_or_from_one_elsewhere(self, program, tmp_path):
        (tmp_path / "config.toml").write_text('[checkpoint]\nto = "s3://there/run"\n')
        self.start(program, tmp_path, "cartpole")
        assert said(program) == [f"resume {tmp_path}"]

    def test_a_run_without_a_checkpoint_is_kept_aside(self, program, tmp_path):
        run = tmp_path / "run"
        run.mkdir()
        (run / "config.toml").write_text('[checkpoint]\nto = ""\n')
        self.start(program, run, "cartpole")
        assert said(program) == [f"train cartpole --out {run}"]
        (aside,) = tmp_path.glob("run.without-checkpoint-*/config.toml")
        assert aside.is_file()


class TestSlurm:
    """sbatch starts the script on a job's first node; scontrol lists nodes; srun starts what runs on them until its end."""

    @pytest.fixture
    def folder(self, tmp_path):
        home, bin = tmp_path / "home", tmp_path / "bin"
        home.mkdir()
        shutil.copytree(CLUSTER, tmp_path / "cluster")
        # `srun` is there for as long as Ray is, and shows that the token is there and for nobody else.
        command(bin, "srun", 'stat --format="token %a" "$RAY_AUTH_TOKEN_PATH" >>"$0.said"; exec sleep 60')
        command(bin, "scontrol", 'for host in ${3//,/ }; do echo "$host"; done')
        # The script runs Python three times: it says who it is, waits for the nodes (here for $CALLS of srun), and trains.
        python = """if [[ $1 == -c ]]; then echo 192.0.2.1; fi
if [[ $1 == - ]]; then
    cat >/dev/null
    until [[ $(grep -c ^token "${0%/*}/srun.said") -ge ${CALLS:-1} ]]; do sleep 0.02; done
fi
if [[ $2 == train || $2 == resume ]]; then
    trap 'exit 75' TERM
    mkdir -p runs/slurm-1234567/checkpoints; touch runs/slurm-1234567/{config.toml,checkpoints/LATEST,begun}
    [[ ! $WAITS ]] || for _ in {1..600}; do sleep 0.1; done
    exit ${CODE:-0}
fi"""
        command(bin, "python", python)
        return tmp_path

    def environment(self, folder, **more):
        slurm = {"SLURM_JOB_ID": "1234567", "SLURM_SUBMIT_DIR": str(folder), "SLURM_CPUS_PER_TASK": "8"}
        mine = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "RAY_"))}
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        return {
            **mine,
            "HOME": str(folder / "home"),
            "PATH": path,
            "PYTHON": str(folder / "bin" / "python"),
            **slurm,
            **more,
        }

    def start(self, folder, *words, **more):
        command = [folder / "cluster" / "slurm.sh", *words]
        return subprocess.run(command, env=self.environment(folder, **more), capture_output=True, text=True, timeout=60)

    def ray_started(self, folder):
        """What srun was told, a line for each call, the head's first: its own words, and those of ray start."""
        lines = [line for line in said(folder / "bin" / "srun") if "ray start" in line]
        lines.sort(key=lambda line: "--head" not in line)
        return [(line.partition(" bash -c")[0], line.partition("ray start ")[2]) for line in lines]

    def test_a_ray_on_each_node_then_the_run(self, folder):
        told = self.start(folder, "cartpole", "--rollouts.actors", "24", SLURM_JOB_NODELIST="a1,a2,a3", CALLS="2")
        assert told.returncode == 0, told.stderr
        head, others = self.ray_started(folder)
        assert head[0] == "--nodelist=a1 --nodes=1 --ntasks=1 --cpus-per-task=8"
        assert head[1] == "--head --node-ip-address 192.0.2.1 --port 24567 --include-dashboard false"
        assert others == ("--nodelist=a2,a3 --nodes=2 --ntasks=2 --cpus-per-task=8", "--address 192.0.2.1:24567")
        _, wait, train = said(folder / "bin" / "python")
        assert wait == "- 192.0.2.1:24567 3"
        where = "--address 192.0.2.1:24567 --out runs/slurm-1234567"
        assert train == f"launch.py train cartpole --rollouts.actors 24 {where}"

    def test_the_token_is_the_jobs_alone_and_goes_with_it(self, folder):
        assert self.start(folder, SLURM_JOB_NODELIST="a1").returncode == 0
        assert [line for line in said(folder / "bin" / "srun") if line.startswith("token")] == ["token 600"]
        assert list((folder / "home" / ".ray").iterdir()) == []
        assert len(self.ray_started(folder)) == 1

    def test_of_several_groups_the_first_is_the_head(self, folder):
        lists = {"SLURM_JOB_NODELIST_HET_GROUP_0": "gpu1", "SLURM_JOB_NODELIST_HET_GROUP_1": "a1,a2"}
        cpus = {"SLURM_CPUS_PER_TASK_HET_GROUP_0": "4", "SLURM_CPUS_PER_TASK_HET_GROUP_1": "32"}
        told = self.start(folder, SLURM_HET_SIZE="2", SLURM_JOB_NODELIST="gpu1", CALLS="2", **lists, **cpus)
        assert told.returncode == 0, told.stderr
        head, others = self.ray_started(folder)
        assert head[0] == "--het-group=0 --nodelist=gpu1 --nodes=1 --ntasks=1 --cpus-per-task=4" and "--head" in head[1]
        assert others[0] == "--het-group=1 --nodelist=a1,a2 --nodes=2 --ntasks=2 --cpus-per-task=32"
        assert said(folder / "bin" / "python")[1].endswith(" 3")

    def test_the_runs_code_is_the_jobs(self, folder):
        assert self.start(folder, SLURM_JOB_NODELIST="a1", CODE="5").returncode == 5

    def test_time_is_up_and_the_same_job_goes_on(self, folder):
        script, environment = folder / "cluster" / "slurm.sh", self.environment(folder, SLURM_JOB_NODELIST="a1", WAITS="yes")
        with subprocess.Popen([script, "cartpole"], env=environment, start_new_session=True) as job:
            give_up = time.monotonic() + 30
            while not (folder / "runs" / "slurm-1234567" / "begun").exists():
                assert time.monotonic() < give_up and job.poll() is None
                time.sleep(0.02)
            job.send_signal(signal.SIGTERM)
            assert job.wait(30) == 75
        assert self.start(folder, "cartpole", SLURM_JOB_NODELIST="a1").returncode == 0
        assert said(folder / "bin" / "python")[-1] == "launch.py resume runs/slurm-1234567 --address 192.0.2.1:24567"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("ports", [[], ["--ports"]], ids=["namespaces", "ports"])
def test_a_run_over_two_nodes_outlives_one_of_them(tmp_path, ports):
    words = ["--kill", "8000", "--out", tmp_path / "run", "cartpole", "--rollouts.actors", "2", "--stop.env_steps", "20000"]
    told = subprocess.run(
        [CLUSTER / "two_nodes_one_machine.sh", *ports, *words],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "the second node has lost its power" in told.stdout and told.stdout.strip().endswith("left behind: nothing")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "finished"
    account = summary["accounting"]
    assert account["generated"] == account["accepted"] + sum(account["dropped"].values()) + account["unknown"] >= 20_000
    assert set(summary["invariants"].values()) == {0}

"""What an exported file says of itself, as JSON in its own metadata: enough to run it without the run that it came from."""

import hashlib
from dataclasses import asdict

from distributed_kd import __version__
from distributed_kd.config import RunConfig
from distributed_kd.envs.spec import make
from distributed_kd.exports.saved import Saved
from distributed_kd.maths.normalisation import LARGEST, LEAST_DEVIATION
from distributed_kd.networks import parameter_count, to_flat
from distributed_kd.networks.ensemble import Ensemble
from distributed_kd.networks.on_arrays import Perceptron
from distributed_kd.storage.policy_files import NORMAL
from distributed_kd.storage.sources import TEACHER
from distributed_kd.student_config import ON_THE_SCALE_OF_Q, StudentConfig

MEANINGS = {
    "q_values": "the expected discounted return of each action",
    "advantages": "Q-values, but for a number that is the same for all actions of a state",
    "scaled_advantages": "Q-values less their mean over the actions, divided by their spread",
    "logits": "policy logits: their softmax gives the probability of each action",
}


def about(saved: Saved) -> dict[str, object]:
    """Where the policy came from, what it is given, what it answers and what it is made of."""
    config, spec, checkpoint = saved.config, saved.spec, saved.checkpoint
    meaning = meaning_of(config, saved.name)
    return {
        "made_by": f"distributed_kd {__version__}",
        "run": saved.run,
        "policy": saved.name,
        "updates": checkpoint.step,
        "env_steps": checkpoint.about["env_steps"],
        "weights_sha256": weights_sha256(saved),
        "env": asdict(config.env),
        "observation": {
            "shape": list(spec.input_shape),
            "dtype": spec.observation_dtype,
            "frame_stack": spec.frame_stack,
            "channels": spec.channels,
        },
        "actions": {"count": spec.actions, "start": spec.action_start, "names": _action_names(config)},
        "outputs": {"meaning": meaning, "in_words": MEANINGS[meaning]},
        "network": _network(saved),
    }


def meaning_of(config: RunConfig, name: str) -> str:
    """What a policy's outputs are, one of MEANINGS: a student's hang on its losses, in the optimum of these."""
    if name == TEACHER:
        return "logits" if config.teacher.combine == "logsumexp" and _is_several(config) else "q_values"
    return _students_meaning(config.students[name])


def _students_meaning(student: StudentConfig) -> str:
    losses = {loss for term in student.terms for loss in term.output_losses}
    targets = {term.target for term in student.terms if {"mse", "huber"} & {*term.output_losses}}
    if student.learns_from_own_lanes or losses - {*ON_THE_SCALE_OF_Q}:
        return "logits"
    if student.td_weight or "q" in targets:
        return "q_values"
    return "scaled_advantages" if "scaled" in targets else "advantages"


def weights_sha256(saved: Saved) -> str:
    """Of the parameters in the order of the network, then of what it sees observations by: the same in every format."""
    digest = hashlib.sha256(to_flat(saved.network).tobytes())
    if saved.normal is not None:
        digest.update(saved.normal.tobytes())
    return digest.hexdigest()


def _is_several(config: RunConfig) -> bool:
    return config.teacher.is_peers or config.teacher.is_ensemble


def _action_names(config: RunConfig) -> list[str] | None:
    """What the environment calls its actions, first to last; None where it does not say."""
    env = make(config.env)
    try:
        names = getattr(env.unwrapped, "get_action_meanings", None)
        return [str(name) for name in names()] if names else None
    finally:
        env.close()


def _network(saved: Saved) -> dict[str, object]:
    """Its layers, and what it makes of an observation before the first of them."""
    teacher, network = saved.config.teacher, saved.network
    normal = {"by": NORMAL, "least_deviation": LEAST_DEVIATION, "largest": LARGEST}
    before = {"scale": saved.spec.scale, "normalised": None if saved.normal is None else normal}
    told = {"parameters": parameter_count(network), "is_plain": Perceptron.fits(network), **before}
    if isinstance(network, Ensemble):
        return {"label": f"{teacher.combine} of {len(network.members)}", **told}
    if saved.name == TEACHER:
        return {"label": teacher.network.label, **told, **asdict(teacher.network), **asdict(teacher.head)}
    student = saved.config.students[saved.name].network
    return {"label": student.label, **told, **asdict(student)}

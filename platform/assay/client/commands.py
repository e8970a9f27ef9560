"""Every command of `assay`: its name, where it lives, and the line that `assay --help` says of it.

The help and the shell's completion are made from this table, so that no room has to be imported for them. A room is imported when
its command runs. `tests/client/test_start.py` compares each line with what the command says of itself.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """`home` is `module:attribute`; `help` the first sentence of the command's own help."""

    home: str
    help: str


COMMANDS = {
    "admin": Entry(
        "assay.config.cli:admin", "Administrators, and what they decide: who may publish, whose a pool of nodes is."
    ),
    "backup": Entry(
        "assay.config.cli:backup", "Copy everything that an installation cannot make again, and put it back."
    ),
    "cancel": Entry("assay.client.participating:cancel", "Cancel SUBMISSIONS and stop their containers."),
    "challenge": Entry("assay.client.planning:challenge", "Push, publish and list challenges."),
    "check": Entry(
        "assay.node.cli:check",
        "Say what the platform would say of IMAGE (a local image or an archive) before you submit it.",
    ),
    "code": Entry(
        "assay.client.organizing:code", "Push what submissions of code are built from: a base image, and wheels."
    ),
    "doctor": Entry(
        "assay.node.cli:doctor",
        "Say whether this machine can run submissions safely, and what to do where it cannot.",
    ),
    "evaluate": Entry(
        "evaluator.commands.evaluate:evaluate", "Score a folder of predictions against a folder of references."
    ),
    "export": Entry(
        "assay.client.participating:export",
        "Write the case scores of SUBMISSION, as far as its phase releases them, to standard output.",
    ),
    "files": Entry("assay.client.planning:files", "Have images, predictions and logs of submissions deleted."),
    "import": Entry(
        "assay.client.importing.cli:import_bundle",
        "Make a challenge bundle in FOLDER out of what another platform or data set gives at SOURCE.",
    ),
    "invite": Entry("assay.client.people:invite", "Invite people to a challenge, or open an invitation."),
    "join": Entry("assay.client.participating:join", "Take part in CHALLENGE."),
    "kept": Entry("assay.client.participating:kept", "List the images and models that your team has handed in before."),
    "leaderboard": Entry(
        "assay.client.leaderboards:leaderboard",
        "Print the ranking of a phase.",
    ),
    "login": Entry(
        "assay.client.signing_in:login", "Sign in to SERVER and keep a token for it in ~/.config/assay/config.json."
    ),
    "logout": Entry("assay.client.signing_in:logout", "Forget the token on this computer."),
    "logs": Entry(
        "assay.client.participating:logs",
        "Print what SUBMISSION's containers wrote: organizers always, participants on public cases.",
    ),
    "manage": Entry(
        "assay.config.cli:manage", "Django's own commands for this server, such as `assay manage check --deploy`."
    ),
    "metric-image": Entry("assay.client.organizing:metric_image", "Bring metrics of your own as a container image."),
    "node": Entry("assay.node.cli:node", "Run submissions on this machine for an Assay server."),
    "nodes": Entry(
        "assay.client.nodes:nodes", "The machines that run submissions: who they are, and which of them take work."
    ),
    "notices": Entry("assay.client.people:notices", "Read what you were told, and choose what you hear of."),
    "phase": Entry("assay.client.organizing:phase", "Open, close and publish a phase."),
    "protocol": Entry("evaluator.commands.protocol:protocol", "Look at scoring protocols."),
    "quota": Entry(
        "assay.client.signing_in:quota", "Say how much you use of what you may: challenges, disk, computing."
    ),
    "rank": Entry(
        "evaluator.commands.rank:rank",
        "Rank the algorithms of SCORES: one table, a file for each algorithm, or a folder of them.",
    ),
    "receipt": Entry(
        "assay.client.participating:receipt",
        "Fetch the signed receipt of SUBMISSION; `assay verify` checks it without us.",
    ),
    "run": Entry(
        "assay.node.cli:run",
        "Run IMAGE (a local image or an archive) on the cases of a folder in the platform's sandbox, and score it.",
    ),
    "serve": Entry("assay.config.cli:serve", "Run a whole Assay on this machine, or one part of it."),
    "signup": Entry("assay.client.signing_in:signup", "Make an account on SERVER and sign in."),
    "site": Entry("assay.node.cli:site", "Evaluate submissions on data that stays here."),
    "status": Entry("assay.client.participating:status", "Say where SUBMISSION stands, or list yours."),
    "submit": Entry(
        "assay.client.participating:submit",
        "Submit IMAGE: an archive (docker save or OCI, plain, .gz or .zst) or the name of a local Docker image.",
    ),
    "team": Entry("assay.client.participating:team", "Make a team, invite to it, join one."),
    "testset": Entry("assay.client.organizing:testset", "Push test sets: hidden cases and public ones."),
    "verify": Entry(
        "assay.client.participating:verify",
        "Check the receipt or the snapshot of a leaderboard in FILE: who signed it, and that nothing in it was changed.",
    ),
    "webhook": Entry("assay.client.webhooks:webhook", "Tell a program of yours what happens."),
    "whoami": Entry("assay.client.signing_in:whoami", "Say which server we talk to, and as whom."),
}

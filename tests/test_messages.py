from transferkit.messages import Reporter
from transferkit.progress import Progress


class Heard(Progress):
    def __init__(self):
        self.notes = []

    def note(self, line):
        self.notes.append(line)


def line(epoch, phase, **more):
    scores = {"loss": 0.5, "accuracy": 0.75}
    return {"epoch": epoch, "phase": phase, "train": scores, "val": scores} | more


def test_a_run_that_patience_ends_says_so_even_where_not_every_epoch_is_told():
    for phase in ("finetune", "head"):
        heard, lines = Heard(), []
        reporter = Reporter(heard, append=lines.append, epochs=30)
        reporter.record(line(10, phase))
        reporter.record(line(11, phase, stopped="epoch 4 is still the best"))
        assert len(lines) == 2
        told = "epoch 12/30: loss 0.500, val loss 0.500, val accuracy 0.750; stopped, epoch 4 is still the best"
        assert heard.notes[-1] == told
        scores = {"loss": 0.5, "accuracy": 0.75, "calibrated_loss": 0.25}
        reporter.record(line(29, phase) | {"val": scores})
        assert heard.notes.pop().endswith(", val loss 0.500, val accuracy 0.750, val calibrated loss 0.250")
        assert len(heard.notes) == (2 if phase == "finetune" else 1)

"""A trained classifier, read back: predict one photo or a stream of them, score it on labelled ones, export it."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit import live, messages, runtime
from transferkit.data import folder, manifest
from transferkit.data.decode import DecodeError, eval_view
from transferkit.data.depth import LARGEST, dim_words
from transferkit.data.hints import NONE, Hints
from transferkit.data.photos import Decoding
from transferkit.data.source import read_file
from transferkit.model import build
from transferkit.model.build import Preprocessing
from transferkit.model.eval_batch import batch_of
from transferkit.progress import Progress
from transferkit.ship import artifact
from transferkit.ship.answers import Answer, Views, answers
from transferkit.ship.judged import Judged
from transferkit.ship.models import Artifact, Ensemble
from transferkit.ship.prediction import Prediction
from transferkit.ship.sources import Source, content_of, every_photo
from transferkit.trust import sureness
from transferkit.zoo import stops
from transferkit.zoo.card import BIT_DEPTHS
from transferkit.zoo.errors import DataError, UsageError


def load(path: str | Path, *, device: str = "auto", bit_depth: int | None = None) -> "Classifier":
    """The classifier in a run folder or a model folder, or the embedded network of that name.

    Args: bit_depth, of the values in files with room for more than 8 bits that do not say it, in place of what the
    model remembers of those it was trained on.
    Raises: UsageError if there is none, ModelFileError if a file of it is damaged.
    """
    runtime.prepare_process()
    if bit_depth is not None and bit_depth not in BIT_DEPTHS:
        raise UsageError(f"bit_depth {bit_depth!r} is out of range; allowed: 8 to 16")
    path = os.path.expanduser(path)
    classifier = Classifier(artifact.load(path), device=runtime.pick_device(device), folders=[Path(path)])
    classifier.bit_depth = bit_depth
    return classifier


class Classifier:
    """A network in evaluation mode, or an ensemble, with its classes and its one way of preparing images for each."""

    def __init__(self, model: Artifact | Ensemble, *, device: str, folders: Sequence[Path] = ()):
        self._folders = folders  # of the runs or models that it comes from
        self.bit_depth: int | None = None  # in place of those of its members
        self._largest: Counter[int] = Counter()  # values of images whose files do not say how many bits they have
        self.artifact = model
        self.classes: tuple[str, ...] = model.classes
        self.task = model.task
        self.passes = model.passes()
        self.device = device
        for each in self.passes:
            each.network.to(device).to(memory_format=torch.channels_last).eval()
            build.fold(each.network, torch.zeros(1, 3, *each.preprocessing.size_px, device=device))

    def stream(
        self, sources: Iterable[Source] | Source, *, top: int = 1, batch_size: int = 32, max_error: float | None = None
    ) -> Iterator[Prediction]:
        """Yield a prediction for each photo, in order, holding no more than `batch_size` images at a time.

        Args: sources, one photo or many: paths, folders and patterns as `transferkit predict` takes them, URLs (http,
        https), bytes or open files of images, Pillow images, uint8 arrays of shape (H, W) or (H, W, 1 | 3 | 4), tensors
        also (1 | 3 | 4, H, W); top, how many classes to list; max_error, the share of sure answers that may be wrong,
        by default 0.05.
        Raises: KindError, a TypeError, for anything else, UsageError for another URL, and for a max_error where nothing
        is known of how often answers are wrong; a file that holds no image, or is not there, is a fault.
        """
        if top < 1 or batch_size < 1:
            raise UsageError(f"top {top}, batch_size {batch_size}: allowed are 1 and more")
        threshold = sureness.threshold(self.artifact.sureness, max_error)
        for source, answer, trained_on in self._answers(every_photo(sources), batch_size):
            if isinstance(answer, str):
                yield Prediction(source=source, fault=answer)
                continue
            mean = answer.probabilities.mean(axis=0)  # (K,)
            listed = tuple((self.classes[k], float(mean[k])) for k in np.argsort(-mean, kind="stable")[:top])
            said = tuple((self.classes[k], p) for k, p in self.task.said(mean))
            label, probability = said[0] if self.task.names_one else (None, None)
            named: dict[str, Any] = {"label": label, "probability": probability, "labels": said, "top": listed}
            is_sure = None if threshold is None else bool(self.task.confidence(mean[None])[0] >= threshold)
            known: dict[str, Any] = {"trained_on": trained_on, "is_sure": is_sure, "is_familiar": answer.is_familiar}
            yield Prediction(source=source, **named, **known)

    def predict(self, sources: Iterable[Source] | Source, **options: Any) -> list[Prediction]:
        """The same as a list; takes what `stream` does."""
        return list(self.stream(sources, **options))

    @cached_property
    def _fitted(self) -> manifest.Fitted:
        return manifest.fitted_by(self._folders)

    def _answers(self, photos: Iterable[Source], batch_size: int) -> Iterator[tuple[Source, Answer | str, bool | None]]:
        """Each photo with the answer to it, or why it cannot be read; and if it was trained on."""
        remaining, fitted = iter(photos), self._fitted
        with ThreadPoolExecutor(runtime.default_workers()) as pool:
            while chunk := list(islice(remaining, batch_size)):
                stops.check()
                views = list(pool.map(partial(self._views, fitted=fitted), chunk))
                readable = [view for view, _ in views if not isinstance(view, str)]
                given = answers(self.artifact, self.passes, readable, device=self.device) if readable else []
                left = iter(given)
                for source, (view, trained_on) in zip(chunk, views):
                    yield source, view if isinstance(view, str) else next(left), trained_on

    def _views(self, source: Source, fitted: manifest.Fitted) -> tuple[Views | str, bool | None]:
        """What each preprocessing makes of an image, or why it cannot be read; and whether it is one of `fitted`."""
        decodings = {each.preprocessing: self._decoding(each.preprocessing) for each in self.passes}
        try:
            content = content_of(source)
            content = read_file(content) if isinstance(content, str) else content  # once, for all of them
            images = {each: each.image(content) for each in set(decodings.values())}
        except DecodeError as error:
            return str(error), None
        self._largest.update([image.info[LARGEST] for image in images.values() if LARGEST in image.info][:1])
        trained_on = manifest.is_among(content, fitted) if fitted and isinstance(content, bytes) else None
        return {view: eval_view(images[each], view) for view, each in decodings.items()}, trained_on

    def _decoding(self, preprocessing: Preprocessing) -> Decoding:
        return Decoding.of(preprocessing, bit_depth=self.bit_depth)

    def depth_words(self, images: int) -> str:
        """What to say of `images` images read since the last call that may be dark because of their depth; or ""."""
        largest, self._largest = self._largest, Counter()
        return dim_words(largest.elements(), of=images, what="images")

    def evaluate(
        self,
        data: str | Path,
        *,
        part: str | None = None,
        label_column: str | None = None,
        label_from: str | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Scores on labelled images, classes matched by name.

        Args: part, "test", "val", "train" or "all"; by default test if there is one, else validation, else all;
        label_column and label_from, as for `finetune`.
        Returns: the block of scores that metrics.json has too, with "task", "part", "classes" and "refused": [[path,
        reason], ...]; that of an ensemble has "members", the accuracy and log loss of each. "seen" counts the images
        that the run has trained or validated on, "unseen" is the score without them; of a model without a run nothing
        is known.
        Raises: DataError if the images have a class that the classifier does not know, or none of them is readable.
        """
        hints = Hints(label_column=label_column, label_from=label_from)
        return self.judge(data, hints, part=part, progress=progress).scores()

    def judge(
        self, data: str | Path, hints: Hints = NONE, *, part: str | None = None, progress: Progress | None = None
    ) -> Judged:
        """What it says of each labelled image. Args and raises: as `evaluate`."""
        is_shown, progress = progress is not None, progress or live.here()
        listing = folder.read(data, hints, to_train=False, progress=progress)
        for note in listing.notes:
            progress.say(note)
        if listing.task.name != self.task.name:
            raise DataError(f"the labels of {data} are {listing.task.name}, the classifier is {self.task.name}")
        numbers = [self._index(name) for name in listing.classes]
        if not self.task.names_one:
            messages.absent([name for name in self.classes if name not in listing.classes], progress)
        part, rows = listing.part(part)
        progress.start("evaluating", len(rows))
        found, judged, seen, refused = [], [], [], [list(entry) for entry in listing.refused]
        photos = (listing.paths[row] for row in rows)
        size = min(batch_of(each.network) for each in self.passes)
        for row, (_, answer, trained_on) in zip(rows, self._answers(photos, size)):
            if isinstance(answer, str):
                refused.append([listing.relative(row), answer])
            else:
                found.append(answer.probabilities)
                judged.append(row)
                seen.append(bool(trained_on))
            progress.advance(1)
        progress.finish()
        if words := self.depth_words(len(judged)):
            progress.say(words)
        if not is_shown:  # who shows progress shows `refused` as well
            messages.refused(refused, progress)
        if not judged:
            raise DataError(f"no readable image in the {part} part of {data} ({refused[0][0]}: {refused[0][1]})")
        return Judged(
            task=self.task,
            classes=self.classes,
            part=part,
            listing=listing,
            rows=np.array(judged),
            labels=self.task.renumbered(listing.labels[judged], numbers, len(self.classes)),
            answers=np.array(found),
            seen=np.array(seen),
            refused=refused,
        )

    def _index(self, name: str) -> int:
        if name not in self.classes:
            raise DataError(f"class {name!r} is unknown to this classifier; it knows: {', '.join(self.classes)}")
        return self.classes.index(name)

    def export(
        self,
        format: str,
        out: str | Path,
        *,
        images: Iterable[Source] | Source = (),
        progress: Progress | None = None,
        **options: bool,
    ) -> Path:
        """Write the classifier by the exporter of that name in `ship/exporters`, as "onnx", and return where.

        Args: images, photos on which what is written is compared with this classifier before it is kept; noise if there
        are none; progress, which is told how well it agrees; core=True, for a graph of views, after resize and crop, in
        place of photos; int8=True, for one of 8-bit integers, calibrated and judged on the photos of the run that this
        classifier was loaded from.
        Raises: UsageError for an unknown format, option or filter, or a missing library, ParityError, StorageError,
        DataError for an unreadable image.
        """
        from transferkit.ship import export
        from transferkit.ship.exporters.exporter import Wanted
        from transferkit.ship.exporters.sample import Labelled, Sample

        depth = self.bit_depth or self.passes[0].preprocessing.bit_depth
        if strange := options.keys() - {"core", "int8"}:
            raise UsageError(f"no option {', '.join(sorted(strange))} of an export; known: core, int8")
        labelled = Labelled.of_run(next(iter(self._folders), None), bit_depth=depth) if options.get("int8") else None
        wanted = Wanted(sample=Sample.of(images, bit_depth=depth), core=options.get("core", False), int8=labelled)
        out = Path(out).expanduser()
        agreement = export.export(self.artifact, format=format, out=out, wanted=wanted)
        (progress or Progress()).say(agreement.words)
        return out

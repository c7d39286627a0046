"""What every study asks of a map: one dictionary of measures, the same for methods and for
controls."""

import torch

from helpers.attribution.targets import Score, resolve_target
from helpers.measures.faithfulness import hiding_curves, retained_accuracy
from helpers.measures.quality import dilate, pixel_auc, relevance_mass, total_variation

MARGIN = 2  # pixels: those just outside an edge legitimately matter
FILLS = ("mean", "blur")  # neither is where a path of Integrated Gradients starts by default
# shares of the pixels
HIDDEN = {
    "lowest": (0.5, 0.8, 0.9, 0.95),
    "highest": (0.02, 0.05, 0.1, 0.2),
}
OTHER_PART = {"shape": "letter", "letter": "shape", "patch": "shape"}


def score(model, images, target, maps, *, fills=FILLS, extra=()) -> dict[str, torch.Tensor]:
    """The measures of maps (N, C, H, W) of ``images``, each (N,):

    - "total variation": roughness of the signed map: 0 for a constant one, about 2.83 for white
      noise.
    - "lowest hidden, FILL" (higher is better) and "highest hidden, FILL" (lower is better): the
      share of the four fractions in ``HIDDEN`` at which the network still says ``target`` when the
      pixels of lowest or of highest relevance are replaced, for each of ``fills``; without any, the
      total variation is left out too. Of a callable, which names no class: by how much what it
      makes of the output is then larger than before, the mean over the four, in its own unit.
    - where the part that the model names has a mask: "mass" (relevance mass on it, the primary
      measure), "auc" (pixel AUC), "mass +2" and "auc +2" (the mask dilated by 2 pixels); and the
      same four followed by " other", against the part that the *other* network reads, from which
      ``Results.contrast`` makes the pair contrast.
    """
    measures = {"total variation": total_variation(maps)} if fills else {}
    if fills:
        target = resolve_target(model, images.pixels, target, extra=extra)
    for order, fractions in HIDDEN.items():
        for fill in fills:
            given = dict(order=order, fill=fill, target=target, extra=extra)
            if isinstance(target, Score):
                values = hiding_curves(model, images.pixels, maps, (0, *fractions), **given)[1]
                held = values[:, 1:] - values[:, :1]
            else:
                held = retained_accuracy(model, images.pixels, maps, fractions, **given).float()
            measures[f"{order} hidden, {fill}"] = held.mean(1)
    own = getattr(model, "part", None)
    for part, suffix in ((own, ""), (OTHER_PART.get(own), " other")):
        if part not in images.masks:
            continue
        for margin, mask in (
            ("", images.masks[part]),
            (f" +{MARGIN}", dilate(images.masks[part], MARGIN)),
        ):
            measures[f"mass{margin}{suffix}"] = relevance_mass(maps, mask)
            measures[f"auc{margin}{suffix}"] = pixel_auc(maps, mask)
    return measures

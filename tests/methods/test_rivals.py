"""What is particular to each compared method: what its authors did, and the known mistakes of public ports."""

from dataclasses import replace
from math import exp, log1p

import pytest
import torch
from toys import Few, batch, begun, boxes, drawn, given, schedule, seen_by, settings

from portraitist.learning.image_pool import ImagePool
from portraitist.learning.losses import gram_loss
from portraitist.learning.optim import linear_decay, set_lr
from portraitist.methods.nst_with_background import Album
from portraitist.methods.registry import build
from portraitist.nets.cut import Projector, encode_features
from portraitist.nets.cyclegan import ResnetGenerator
from portraitist.train.loop import train

BOTH_WAYS = ["cyclegan", "attention_gan", "attentive_adversarial"]


def rates(learner):
    return {group["lr"] for each in (learner.generator_adam, learner.discriminator_adam) for group in each.param_groups}


@pytest.mark.parametrize("name", [*BOTH_WAYS, "pix2pix", "cut", "ugatit"])
def test_the_rate_is_whole_for_half_the_epochs_and_then_falls_in_a_line(name):
    learner, found = begun(name, learning_rate=0.01), []
    for index in range(8):
        learner.start_epoch(index, 8)
        (rate,) = rates(learner)
        found.append(round(rate, 6))
    assert found == [0.01] * 5 + [0.0075, 0.005, 0.0025]


def test_a_rate_never_comes_to_nothing_before_the_end():
    for total in (1, 2, 3, 20):
        shares = [linear_decay(index, total) for index in range(total)]
        assert shares[0] == 1
        assert shares == sorted(shares, reverse=True)
        assert shares[-1] > 0


def test_pace_moves_the_rate_of_an_optimizer_and_keeps_what_it_knows():
    weight = torch.nn.Parameter(torch.ones(2))
    adam = torch.optim.Adam([weight], lr=0.1)
    weight.sum().backward()
    adam.step()
    known = adam.state[weight]["exp_avg"].clone()
    set_lr(adam, 0.02)
    assert adam.param_groups[0]["lr"] == 0.02
    assert torch.equal(adam.state[weight]["exp_avg"], known)


def test_a_pool_shows_what_comes_until_it_is_full_and_then_every_second_one_of_before():
    torch.manual_seed(1)
    pool = ImagePool(5)
    first = torch.arange(5.0).reshape(5, 1, 1, 1)
    assert torch.equal(pool(first), first)
    known, old = set(range(5)), 0
    for value in range(5, 205):
        (shown,) = pool(torch.full((1, 1, 1, 1), float(value))).flatten().tolist()
        assert shown == value or shown in known
        if shown != value:
            known = known - {shown} | {value}
            old += 1
    assert 75 < old < 125
    assert {int(image) for image in pool.images} == known


def test_a_pool_goes_on_with_what_it_held():
    pool, other = ImagePool(3), ImagePool(3)
    other.load_state_dict(pool.state_dict())
    assert other.images == []
    pool(drawn(2, 3, 4, 4, seed=1))
    other.load_state_dict(pool.state_dict())
    assert torch.equal(torch.stack(other.images), torch.stack(pool.images))


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_discriminators_are_shown_paintings_of_before(name):
    learner = begun(name, pool=2)
    torch.manual_seed(3)
    for number in range(2):
        learner.step(batch(number))
    before = [image.clone() for image in learner.pool.images]
    shown = []
    for number in range(2, 6):
        with seen_by(learner.discriminator) as seen:
            learner.step(batch(number))
        shown += [image for images in seen for image in images]
    assert any(torch.equal(image, old[:3]) for image in shown for old in before)


def test_cyclegans_terms_are_what_they_say():
    learner, pictures = begun("cyclegan"), batch()
    learner.generator.forward = lambda images: images * learner.scale
    learner.generator_back.forward = lambda images: images * learner.scale / 2
    learner.scale = torch.nn.Parameter(torch.tensor(0.5))
    learner.generator_adam = torch.optim.SGD([learner.scale], lr=1e-9)
    terms = learner.step(pictures)
    selfies, portraits = (images.abs().mean().item() for images in (pictures.selfies, pictures.portraits))
    assert terms["g_cycle"] == pytest.approx(10 * (1 - 0.125) * selfies, rel=1e-4)
    assert terms["g_cycle_back"] == pytest.approx(10 * (1 - 0.125) * portraits, rel=1e-4)
    assert terms["g_identity"] == pytest.approx(5 * 0.5 * portraits, rel=1e-4)
    assert terms["g_identity_back"] == pytest.approx(5 * 0.75 * selfies, rel=1e-4)


def test_pix2pixs_discriminator_sees_each_painting_beside_its_selfie():
    learner, pictures = begun("pix2pix"), batch()
    with seen_by(learner.discriminator) as seen:
        learner.step(pictures)
    assert len(seen) == 3
    assert all(torch.equal(images[:, :3], pictures.selfies) for images in seen)
    assert torch.equal(seen[0][:, 3:], pictures.portraits)
    assert torch.equal(seen[1], seen[2])


def test_cut_looks_at_pixels_both_halvings_and_two_blocks_at_drawn_places():
    generator = ResnetGenerator(4, 6)
    features = encode_features(generator, drawn(2, 3, 64, 32, seed=1))
    assert [tuple(layer.shape[1:]) for layer in features] == [
        (3, 64, 32), (8, 32, 16), (16, 16, 8), (16, 16, 8), (16, 16, 8)
    ]  # fmt: skip
    assert torch.equal(features[4], generator.layers[:14](drawn(2, 3, 64, 32, seed=1)))  # the fifth block's
    projector = Projector(4, 6)
    places = projector.places(features)
    assert [len(where) for where in places] == [256, 256, 128, 128, 128]
    assert all(len(set(where.tolist())) == len(where) for where in places)
    for points in projector(features, places):
        assert torch.allclose(points.norm(dim=2), torch.ones(points.shape[:2]), atol=1e-5)


def test_the_projector_is_as_large_as_the_authors():
    assert sum(parameter.numel() for parameter in Projector(64, 9).parameters()) == 560_384


def test_cuts_networks_begin_at_next_to_nothing_and_cyclegans_at_noise():
    selfies = batch().selfies
    with torch.no_grad():
        cut, cyclegan = (begun(name).generator(selfies).std().item() for name in ("cut", "cyclegan"))
    assert cut < 0.05
    assert cyclegan > 0.1
    heads = [part.weight for part in begun("cut").projector.modules() if isinstance(part, torch.nn.Linear)]
    assert heads[-1].std().item() == pytest.approx(0.02 * (2 / 512) ** 0.5, rel=0.02)  # gain * sqrt(2 / (in + out))


def test_a_painting_that_is_its_selfie_has_the_least_contrast():
    learner = begun("cut")
    selfies = drawn(2, 3, 16, 32, seed=3)
    same, other = (learner.contrast(images, selfies).item() for images in (selfies, selfies.flip(3)))
    assert same < other - 0.5
    warm = begun("cut", temperature=0.9).contrast(selfies, selfies).item()
    assert same < warm - 0.5


# Attention


def switched(index, total=10):
    learner = begun("attention_gan")
    learner.start_epoch(index, total)
    return learner


def test_attention_switches_at_epoch_30_of_100():
    assert [switched(index, 100).switched for index in (0, 29, 30, 99)] == [False, False, True, True]


def test_before_the_switch_whole_pictures_are_judged_and_attention_learns():
    learner, pictures = switched(2), batch()
    before = [value.clone() for value in learner.generator.attention.parameters()]
    with seen_by(learner.discriminator) as seen:
        learner.step(pictures)
    assert torch.equal(seen[1], pictures.portraits)
    assert not all(map(torch.equal, before, learner.generator.attention.parameters()))


def test_after_the_switch_the_hard_foreground_is_judged_without_norm_and_attention_stays():
    learner, pictures = switched(3), batch()
    soft = boxes((2, 9, 3, 20), (4, 12, 8, 30)) * 0.6 + 0.05  # .05 is below the threshold, .65 above
    for generator in (learner.generator, learner.generator_back):
        generator.attention.forward = lambda images: soft
    before = [[value.clone() for value in part.parameters()] for part in learner.generator.children()]
    normed = []
    learner.discriminator.norms[0].register_forward_hook(lambda *_: normed.append(1))
    with seen_by(learner.discriminator) as seen:
        learner.step(pictures)
    hard = (soft > 0.1).float()
    assert torch.equal(seen[1], pictures.portraits * hard)
    assert all((images * (1 - hard)).abs().max() == 0 for images in seen)
    assert normed == []
    assert not all(map(torch.equal, before[0], learner.generator.painter.parameters()))
    assert all(map(torch.equal, before[1], learner.generator.attention.parameters()))


def test_after_the_switch_paintings_of_before_are_seen_by_their_own_attention_only():
    learner, pictures = switched(2), batch()
    learner.step(pictures)  # into the pools, and whole
    assert len(learner.pool.images) == len(pictures.selfies)
    learner.start_epoch(3, 10)
    for pool in (learner.pool, learner.pool_back):
        pool.size = len(pool.images)  # full
        for kept in pool.images:
            kept[3] = 0.05  # below the threshold everywhere
    torch.manual_seed(0)  # some are drawn from there
    with seen_by(learner.discriminator) as seen:
        learner.step(pictures)
    assert any(not image.any() for image in seen[2])


@pytest.mark.parametrize(("index", "learns"), [(2, True), (3, False)])
def test_attention_learns_until_the_switch_and_the_painter_always(index, learns):
    learner = switched(index)
    before = [[value.clone() for value in part.parameters()] for part in learner.generator.children()]
    learner.step(batch())
    same = [
        all(map(torch.equal, then, part.parameters()))
        for then, part in zip(before, learner.generator.children(), strict=True)
    ]
    assert same == [False, not learns]


def test_the_painter_is_given_the_whole_picture_whatever_the_attention():
    learner, pictures = switched(5), batch()
    with seen_by(learner.generator.painter) as seen:
        learner.step(pictures)
    assert torch.equal(seen[0], pictures.selfies)


def test_delicate_are_the_eyes_and_the_mouth_of_an_aligned_crop():
    learner = build("attentive_adversarial", settings("attentive_adversarial", eye_line=0.4, eye_to_mouth=0.2))
    hills = learner.delicate(torch.zeros(1, 3, 200, 200))[0, 0]
    for row, column in ((80, 80), (80, 120), (120, 100)):
        assert hills[row, column] > 0.99
    assert hills[80, 100] < hills[80, 82]
    assert hills[20, 20] < 1e-3
    assert hills.max() <= 1


def test_what_is_delicate_counts_more_in_the_cycle():
    learner, pictures = begun("attentive_adversarial"), batch()
    hills = learner.delicate(pictures.selfies)
    near = {}
    for name, place in (("eyes", hills > 0.8), ("elsewhere", hills < 0.2)):
        wrong = torch.where(place, 0.5, 0.0).expand_as(pictures.selfies)
        count = place.float().mean()
        learner.generator.forward = lambda images: images + 0 * learner.scale
        learner.generator_back.forward = lambda images, wrong=wrong: images + wrong + 0 * learner.scale
        learner.scale = torch.nn.Parameter(torch.tensor(0.5))
        learner.generator_adam = torch.optim.SGD([learner.scale], lr=1e-9)
        near[name] = learner.step(pictures)["g_cycle"] / count.item()
    assert near["eyes"] > 3 * near["elsewhere"]


# U-GAT-IT


def test_ugatits_terms_are_what_they_say():
    learner, pictures = begun("ugatit"), batch()
    selfies, portraits = pictures.selfies, pictures.portraits
    learner.scale, learner.sure = (torch.nn.Parameter(torch.tensor(value)) for value in (0.5, 1.0))

    def judged(share, of_selfies, of_portraits):
        def found(images):
            logits = torch.full((2, 2), of_selfies if images is selfies else of_portraits)
            return images * learner.scale * share, logits + 0 * learner.scale

        return found

    def says(real):
        shapes = [(2, 1, 3, 4), (2, 2), (2, 1, 7, 8), (2, 2)]
        return lambda images: [
            learner.sure * torch.full(shape, 0.75 if images is real else 0.375) + 0 * images.mean() for shape in shapes
        ]

    learner.generator.judged, learner.generator_back.judged = judged(1, 2.0, -1.0), judged(0.5, -3.0, 0.5)
    learner.discriminator.forward, learner.discriminator_back.forward = says(portraits), says(selfies)
    learner.generator_adam = torch.optim.SGD([learner.scale], lr=1e-9)
    learner.discriminator_adam = torch.optim.SGD([learner.sure], lr=1e-9)
    size, size_back = (images.abs().mean().item() for images in (selfies, portraits))
    assert learner.step(pictures) == pytest.approx(
        {
            **dict.fromkeys(("d_real", "d_real_back"), 4 * 0.25**2),
            **dict.fromkeys(("d_fake", "d_fake_back"), 4 * 0.375**2),
            **dict.fromkeys(("g_fool", "g_fool_back"), 4 * 0.625**2),
            "g_cycle": 50 * (1 - 0.125) * size,
            "g_cycle_back": 50 * (1 - 0.125) * size_back,
            "g_identity": 10 * 0.5 * size_back,
            "g_identity_back": 10 * 0.75 * size,
            "g_attention": 1000 * (log1p(exp(-2)) + log1p(exp(-1))),
            "g_attention_back": 1000 * (log1p(exp(-0.5)) + log1p(exp(-3))),
        },
        rel=1e-4,
    )


def test_ugatits_shares_stay_shares_however_fast_they_learn():
    learner = begun("ugatit", learning_rate=0.5)
    learner.step(batch())
    for net in (learner.generator, learner.generator_back, learner.ema.network):
        shares = [part for name, part in net.named_parameters() if name.endswith((".rho", ".share"))]
        assert (
            len(shares) == 2 + 2 * 3
        )  # two of doubling, and of each of a block's two norms one and its two statistics'
        assert all(((part >= 0) & (part <= 1)).all() for part in shares)
    assert {0.0, 1.0} <= {value for part in learner.generator.parameters() for value in part.flatten().tolist()}


def test_ugatits_weights_decay():
    learner = begun("ugatit", decay=0.25)
    groups = [group for each in (learner.generator_adam, learner.discriminator_adam) for group in each.param_groups]
    assert {(group["weight_decay"], group["betas"]) for group in groups} == {(0.25, (0.5, 0.999))}


# Style transfer


def test_an_album_gives_the_portrait_of_the_most_similar_outline_or_the_first_for_all():
    portraits, masks = drawn(3, 3, 16, 32, seed=1), boxes((1, 15, 2, 9), (3, 9, 10, 30), (8, 16, 0, 32))
    album = Album(2)
    album.add(portraits[:1], masks[:1])
    album.add(portraits[1:], masks[1:])  # the third finds no room
    wanted = boxes((3, 9, 12, 30), (2, 15, 2, 9))
    chosen, theirs = album.chosen(wanted, nearest=True)
    assert torch.equal(chosen, portraits[:2].flip(0))
    assert torch.equal(theirs, masks[:2].flip(0))
    assert torch.equal(album.chosen(wanted, nearest=False)[0], portraits[:1].repeat(2, 1, 1, 1))


def transferred(name, **changed):
    learner = begun(name, painting_steps=8, **changed)
    learner.step(batch())
    return learner


@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
@pytest.mark.parametrize("name", ["nst_with_background", "nst_without_background"])
def test_painting_brings_the_style_nearer(name, optimiser):
    learner = transferred(name, optimiser=optimiser, style_weight=100.0)
    selfies, masks = drawn(2, 3, 16, 32, seed=4), boxes((1, 15, 2, 30), (2, 15, 3, 31))
    style, theirs = learner.album.chosen(masks, nearest=True)
    where, there = (masks, theirs) if name == "nst_without_background" else (masks * 0 + 1, theirs * 0 + 1)
    far = [
        sum(
            gram_loss(now, where, then, there)
            for now, then in zip(learner.features(seen), learner.features(style), strict=True)
        )
        for seen in (selfies, learner.paint(selfies, masks))
    ]
    assert (far[1] < 0.8 * far[0]).all()


def test_without_background_no_background_gives_or_gets_style():
    learner = transferred("nst_without_background")
    selfies, masks = drawn(2, 3, 16, 32, seed=4), boxes((1, 9, 2, 20), (5, 15, 9, 31))
    painted = learner.paint(selfies, masks)
    assert torch.equal(painted * (1 - masks), selfies * (1 - masks))
    assert not torch.equal(painted * masks, selfies * masks)


def test_what_nearest_portraits_have_behind_them_counts_with_background_only():
    masks = boxes((1, 9, 2, 20), (5, 15, 9, 31))
    changes = {}
    for name in ("nst_with_background", "nst_without_background"):
        painted = []
        for level in (0.0, 0.9):
            learner = begun(name, painting_steps=8)
            pictures = batch()
            empty = torch.where(pictures.portrait_masks > 0, pictures.portraits, level)
            learner.features.forward = lambda images: [images]
            learner.step(replace(pictures, portraits=empty))
            painted.append(learner.paint(drawn(2, 3, 16, 32, seed=4), masks))
        changes[name] = (painted[0] - painted[1]).abs().max().item()
    assert changes["nst_with_background"] > 0.05
    assert changes["nst_without_background"] == 0


def test_style_transfer_keeps_the_first_portraits_and_trains_nothing():
    learner, log = train(
        "nst_with_background", settings("nst_with_background", portraits=3), Few(), given(), schedule()
    )
    assert len(learner.album.pictures) == 3
    assert torch.equal(learner.album.pictures[:2, :3], batch(0).portraits)
    assert log == [{}, {}]


@pytest.mark.parametrize(("index", "total", "fools"), [(0, 3, False), (1, 3, True), (0, 1, True)])
def test_cartoongans_generator_hears_of_content_alone_in_its_first_epoch(index, total, fools):
    learner = begun("cartoongan", content_weight=0.0)
    learner.start_epoch(index, total)
    before = {name: part.clone() for name, part in learner.named_parameters()}
    learner.step(batch())
    moved = {name.split(".")[0] for name, part in learner.named_parameters() if not torch.equal(part, before[name])}
    assert "discriminator" in moved
    assert ("generator" in moved) == fools

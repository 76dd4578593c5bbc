import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from anatomy_vlm.synthesis.look import (
    DOMAINS,
    BurntInText,
    Collimation,
    DetectorBlur,
    FilmLook,
    LogResponse,
    MultiFrequency,
    QuantumNoise,
    RandomFilmLook,
    Scatter,
    SideMarker,
    TubeSpectrum,
    Window,
    bone_basis,
    linear_attenuation,
    monochromatic_transmission,
    water_basis,
)
from anatomy_vlm.synthesis.look.detector import smooth
from anatomy_vlm.synthesis.projection.attenuation import WATER_PER_MM


@pytest.fixture(scope="module")
def beam():
    """Transmission of a chest-like pattern, (160, 150)."""
    y, x = np.mgrid[:160, :150]
    water = 220 * np.exp(-(((x - 75) / 55) ** 4) - ((y - 80) / 70) ** 4)
    water -= 120 * np.exp(-(((x - 45) / 18) ** 4) - ((y - 70) / 40) ** 4)
    bone = 12.0 * (np.abs(x - 75) < 6) * (water > 40)
    return TubeSpectrum().transmission(water, bone)


def test_the_two_bases_add_up_to_the_hounsfield_scale():
    for hu in (-1000, -700, 0, 60, 130, 300, 1500, 3000):
        total = linear_attenuation("water", 70) * water_basis()(hu) + linear_attenuation("bone", 70) * bone_basis()(hu)
        assert total == pytest.approx(linear_attenuation("water", 70) * (1 + hu / 1000), rel=1e-6, abs=1e-9)


def test_water_at_70_kev_is_that_of_the_default_curve():
    assert linear_attenuation("water", 70) == pytest.approx(WATER_PER_MM, rel=0.01)


def test_a_spectrum_hardens_and_a_single_energy_does_not():
    water = np.array([50.0, 100.0, 200.0, 400.0])
    spectrum = -np.log(TubeSpectrum(120).transmission(water, 0 * water)) / water
    single = -np.log(monochromatic_transmission(water, 0 * water)) / water
    assert (np.diff(spectrum) < 0).all()
    np.testing.assert_allclose(single, linear_attenuation("water", 70), rtol=1e-5)
    assert linear_attenuation("water", 100) < spectrum[2] < linear_attenuation("water", 40)


def test_the_hardening_table_equals_the_sum_over_energies():
    spectrum = TubeSpectrum(90, 2.5)
    energy, weight = spectrum.weights()
    water, bone = np.array([13.0, 151.0, 333.0]), np.array([0.0, 7.3, 41.0])
    exact = [
        (weight * np.exp(-w * linear_attenuation("water", energy) - b * linear_attenuation("bone", energy))).sum()
        for w, b in zip(water, bone)
    ]
    np.testing.assert_allclose(spectrum.transmission(water, bone), exact, rtol=2e-3)
    assert spectrum.transmission(np.zeros(1), np.zeros(1))[0] == pytest.approx(1, rel=1e-5)


def test_higher_voltage_shows_less_bone_contrast():
    water, bone = np.full(1, 150.0), np.array([10.0])
    contrast = [
        float(np.log(TubeSpectrum(kv).transmission(water, 0 * bone) / TubeSpectrum(kv).transmission(water, bone))[0])
        for kv in (70, 100, 140)
    ]
    assert contrast[0] > contrast[1] > contrast[2] > 0


@pytest.mark.parametrize("make", [lambda: TubeSpectrum(20), lambda: TubeSpectrum(120, -1)])
def test_bad_spectra_are_refused(make):
    with pytest.raises(ValueError, match=r"kilovolts|filtration"):
        make()


def test_unknown_materials_and_energies_are_refused():
    with pytest.raises(ValueError, match="no attenuation table"):
        linear_attenuation("lead", 60)
    with pytest.raises(ValueError, match="10 and 150"):
        linear_attenuation("water", 500)


@pytest.mark.parametrize("sigma", [3.0, 9.0, 20.0])
def test_wide_blurs_on_a_reduced_copy_are_blurs(beam, sigma):
    exact = gaussian_filter(beam.astype(np.float64), sigma, mode="nearest")
    assert np.abs(smooth(beam, sigma) - exact).max() < 0.03
    assert smooth(beam, sigma).shape == beam.shape


def test_scatter_raises_what_lies_deep_in_the_shadow_most(beam):
    ratio = Scatter(0.5)(beam) / beam
    assert (ratio >= 1).all()
    assert ratio[80, 75] > 1.5 > ratio[2, 2] - 0.2


def test_noise_is_that_of_the_photons_and_fixed_by_its_seed():
    flat = np.full((200, 200), 0.2, np.float32)
    noise = QuantumNoise(photons=5000, electronic=0, seed=4)
    assert np.array_equal(noise(flat), noise(flat))
    assert not np.array_equal(noise(flat), QuantumNoise(5000, 0, 5)(flat))
    assert noise(flat).mean() == pytest.approx(0.2, rel=5e-3)
    assert noise(flat).std() == pytest.approx(np.sqrt(0.2 / 5000), rel=0.03)
    assert QuantumNoise(5000, 40, 4)(flat).std() == pytest.approx(np.sqrt(0.2 * 5000 + 1600) / 5000, rel=0.03)


def test_log_response_inverts_beer_and_lambert():
    path = np.linspace(0, 6, 50, dtype=np.float32)[None]
    np.testing.assert_allclose(LogResponse()(np.exp(-path)), path, atol=1e-5)


def test_unit_gains_change_nothing_and_a_high_gain_sharpens(beam):
    density = LogResponse()(beam)
    np.testing.assert_allclose(MultiFrequency(1, 1, 1)(density), density, atol=1e-5)
    sharp = MultiFrequency(1, 1, 3)(density)
    assert np.abs(np.diff(sharp)).max() > np.abs(np.diff(density)).max()
    assert DetectorBlur(2)(density).std() < density.std()


def test_metal_does_not_rescale_the_rest(beam):
    look = FilmLook((Scatter(0.3), LogResponse(), MultiFrequency(), Window()))
    field = beam < 0.75
    metal = beam.copy()
    metal[60:75, 100:112] *= 1e-3
    shadow = np.zeros_like(field)
    shadow[30:105, 70:142] = True
    plain = look(beam, field).astype(int)
    seen = field.copy()
    seen[60:75, 100:112] = False
    excluded = look(metal, seen).astype(int)
    assert np.abs(plain - excluded)[~shadow].max() <= 4


def test_the_window_is_monotone_and_uses_the_whole_range(beam):
    density = LogResponse()(beam)
    shown = Window(1, 99)(density, density > 0.3)
    order = np.argsort(density.reshape(-1))
    assert (np.diff(shown.reshape(-1)[order]) >= 0).all()
    assert shown.min() == 0
    assert shown.max() == 1


def test_a_constant_image_stays_finite():
    for look in (FilmLook.standard(), RandomFilmLook("equalised").sample(np.random.default_rng(0))):
        film = look(np.ones((40, 40), np.float32))
        assert film.dtype == np.uint8


def test_collimation_shields_the_sides_it_names():
    image = np.ones((100, 200), np.float32)
    shut = Collimation(left=0.1, top=0.2, grey=0.0)(image)
    assert shut[50, :19].max() == 0
    assert shut[:19, 100].max() == 0
    assert shut[50, 22:].min() == 1
    assert shut[22:, 100].min() == 1
    assert Collimation()(image) is image
    with pytest.raises(ValueError, match="collimation"):
        Collimation(left=0.6)


@pytest.mark.parametrize(("side", "half"), [("R", slice(0, 100)), ("L", slice(100, 200))])
def test_side_markers_lie_on_their_side_and_read_upright(side, half):
    film = SideMarker(side, height=0.2)(np.zeros((200, 200), np.float32))
    other = np.ones(200, bool)
    other[half] = False
    assert film[:, half].max() > 0.5
    assert film[:, other].max() == 0
    mirrored = np.abs(film - film[:, ::-1]).max()
    assert mirrored > 0.5
    with pytest.raises(ValueError, match="side marker"):
        SideMarker("left")


def test_burnt_in_text_is_where_it_should_be():
    film = BurntInText("AP", x=0.5, y=0.5, height=0.1)(np.zeros((100, 100), np.float32))
    rows, columns = np.nonzero(film > 0.3)
    assert rows.min() >= 49
    assert columns.min() >= 49
    assert BurntInText("")(film) is film


@pytest.mark.parametrize("domain", DOMAINS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_drawn_looks_are_logged_and_can_be_replayed(beam, domain, seed):
    film, look = RandomFilmLook(domain)(beam, np.random.default_rng(seed))
    logged = json.loads(json.dumps(look.parameters()))
    assert np.array_equal(FilmLook.from_parameters(logged)(beam), film)
    assert film.std() > 5


def test_domains_differ_and_bone_is_bright_in_all(beam):
    path = -np.log(beam)
    thick, thin = path > np.quantile(path, 0.85), (path < np.quantile(path, 0.6)) & (path > 0.5)
    for domain in DOMAINS:
        film, _ = RandomFilmLook(domain)(beam, np.random.default_rng(2))
        assert film[thick].mean() > film[thin].mean()
    assert len(DOMAINS) >= 4


@pytest.mark.parametrize(
    ("stage", "said"),
    [({"transform": "Sepia"}, "unknown film transform"), ({"transform": "Window", "tint": 1}, "Window.*tint")],
)
def test_bad_parameters_are_refused(stage, said):
    with pytest.raises(ValueError, match=said):
        FilmLook.from_parameters([stage])
    with pytest.raises(ValueError, match="unknown domain"):
        RandomFilmLook("sepia")

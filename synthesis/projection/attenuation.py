"""From Hounsfield units to what a ray adds up."""

from dataclasses import dataclass


# Water at 70 keV, the effective energy of a 120 kV chest exposure (NIST XCOM / NISTIR 5632: 0.1929 cm2/g).
WATER_PER_MM = 0.01929


@dataclass(frozen=True)
class Attenuation:
    """A piecewise-linear curve over Hounsfield units with two corners: air at -1000 and a `knee`.

    value(hu) = below * max(hu + 1000, 0) / 1000 + above * max(hu - knee, 0) / 1000

    The default is the definition of the Hounsfield scale, mu = mu_water * (1 + hu / 1000), with nothing below air.

    Args:
        below: slope per 1000 HU from air on; in 1/mm for an attenuation.
        above: slope added above `knee`.
        knee: in HU.

    Example:
        >>> Attenuation()(0.0)
        0.01929
    """

    below: float = WATER_PER_MM
    above: float = 0.0
    knee: float = 100.0

    def __call__(self, hu: float) -> float:
        return self.below * max(hu + 1000, 0) / 1000 + self.above * max(hu - self.knee, 0) / 1000

    def corners(self) -> tuple[float, float, float, float]:
        """(first corner, slope from it, second corner, slope added from it), per HU."""
        return -1000.0, self.below / 1000, self.knee, self.above / 1000

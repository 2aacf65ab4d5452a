"""Any driver, behind a model that looks at several of its proposals and lets the most promising one through.

Off until it has earned it: as long as the model ranks the networks that it has not seen no better than one of their
costs does by itself, the driver's own first proposal is taken.
"""

from __future__ import annotations

from hrnas.search.drivers.driver import Ask, Driver, Told, seed_of_ask
from hrnas.search.drivers.model_driver import ModelDriver

SCREENED = 8  # proposals of which one is made


class ScreenedDriver:
    """Ask the driver several times, with seeds of their own.

    What is proposed by the model's word has `predictor` in its state: Kendall's tau of the model, and of the best cost.
    """

    def __init__(self, driver: Driver, judge: ModelDriver) -> None:
        self._driver, self._judge = driver, judge

    def tell(self, told: Told) -> None:
        self._driver.tell(told)
        self._judge.tell(told)

    def ask(self, seed: int) -> Ask:
        tau, of_costs = self._judge.trust()
        if tau <= of_costs:
            return self._driver.ask(seed)
        asks = [self._driver.ask(seed_of_ask(seed, turn)) for turn in range(SCREENED)]
        best = asks[int(self._judge.gain([ask.genome for ask in asks]).argmax())]
        return Ask(best.genome, {**best.state, **self._judge.noted()})

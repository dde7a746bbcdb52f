"""SIGTERM while a run trains: noted when it comes, heeded between two batches."""

from typing import Any

from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector


class Signals(_SignalConnector):
    """Passes SIGTERM on to the processes that this one has started, and notes it.

    Lightning's own tells the other processes at once, by a broadcast in the handler. That meets whatever collective
    they are in, such as the reduction of gradients, and all may wait for ever. Here they agree between two batches.
    """

    came = False
    """Whether this process has got the signal; `received_sigterm` tells whether training is to end."""

    def _sigterm_notifier_fn(self, signum: Any, _: Any) -> None:
        launcher = self.trainer.strategy.launcher
        if launcher is not None and not self.came:
            launcher.kill(signum)
        self.came = True
        if self.trainer.world_size == 1:
            self.received_sigterm = True

    def agree(self) -> None:
        """Let training end if any process has got the signal; all processes call this at the same place."""
        self.received_sigterm = self.trainer.strategy.reduce_boolean_decision(self.came, all=False)

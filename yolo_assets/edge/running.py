"""An agent as the main thing of a process: runs until a signal or the end of its sources, and is supervised.

Belongs here: signals and supervision. Does not belong here: what an agent is made of (``agent``).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from yolo_assets.edge.agent import Agent
from yolo_assets.edge.supervision import Supervisor


def run_agent(agent: Agent, on_started: Callable[[], None] = lambda: None) -> bool:
    """Run until SIGTERM or SIGINT, or until every source ended when ``exit_when_done`` is set. Main thread only.

    Args:
        agent: not started.
        on_started: called once the page answers.

    Returns:
        Whether everything was drained; False when something hung and was left behind.
    """
    wanted = threading.Event()
    before = {number: signal.signal(number, lambda *_: wanted.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        agent.start()
        on_started()
        supervisor = Supervisor(agent.pulse, agent.not_ready, agent.config.ready_seconds)
        supervisor.ready()
        while not wanted.wait(0.2):
            supervisor.tick()
            if agent.finished():
                agent.done.set()
                if agent.config.exit_when_done:
                    break
        supervisor.stopping()
        return agent.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

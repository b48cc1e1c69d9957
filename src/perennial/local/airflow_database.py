"""Create or upgrade Airflow's metadata database, with the pool of the trainings.

Run: python -m perennial.local.airflow_database SLOTS, with Airflow's environment.
"""

from __future__ import annotations

import sys

from perennial.backend_settings import TRAININGS


def main(slots: int) -> None:
    """Migrate the database, then set how many training steps may run at once."""
    from airflow.cli import cli_parser

    arguments = cli_parser.get_parser().parse_args(["db", "migrate"])
    arguments.func(arguments)
    from airflow.models.pool import Pool

    about = "Steps of trainings that run at once: PERENNIAL_TRAININGS_AT_ONCE"
    Pool.create_or_update_pool(TRAININGS, slots, about, include_deferred=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""The ports of an installation, a part of the settings."""

from __future__ import annotations

from pydantic import BaseModel, Field

from perennial.errors import SettingsError

ABOVE = 100
"""Distance from the port of a model server to its port for gRPC, where the settings do not say it."""
LAST = 65535


class PortSettings(BaseModel):
    """A field per variable; `Settings` reads them from the environment."""

    port_mlflow: int = 5050
    port_airflow: int = 8080
    port_envoy: int = 8000
    port_monitor: int = 9300
    port_alerts: int | None = Field(None, description="receiver of Alertmanager's messages; none by default")
    ports_stable: str = Field("3101,3102", description="a model server per port")
    ports_canary: str = Field("3111", description="a model server per port")
    ports_stable_grpc: str | None = Field(None, description="gRPC of the same servers; 100 higher by default")
    ports_canary_grpc: str | None = Field(None, description="gRPC of the same servers; 100 higher by default")

    def ports(self, pool: str) -> tuple[int, ...]:
        return _numbers({"stable": self.ports_stable, "canary": self.ports_canary}[pool], pool)

    def grpc_ports(self, pool: str) -> tuple[int, ...]:
        """Return the port for gRPC of each server of `ports`.

        Raises:
            SettingsError: there are more or fewer ports than servers.
        """
        servers = self.ports(pool)
        text = {"stable": self.ports_stable_grpc, "canary": self.ports_canary_grpc}[pool]
        if text is None:
            text = ",".join(str(port + ABOVE) for port in servers)
        ports = _numbers(text, f"{pool}_grpc")
        if len(ports) != len(servers):
            raise SettingsError(
                f"PERENNIAL_PORTS_{pool.upper()}_GRPC has {len(ports)} ports for {len(servers)} servers",
                hint=f"set one for each of PERENNIAL_PORTS_{pool.upper()}",
            )
        return ports

    @property
    def named_ports(self) -> dict[str, int]:
        """Return every port of `make up` by the display name of its service."""
        fixed = {
            "MLflow": self.port_mlflow,
            "Airflow": self.port_airflow,
            "Envoy": self.port_envoy,
            "monitor": self.port_monitor,
        }
        if self.port_alerts is not None:
            fixed["alerts"] = self.port_alerts
        for pool in ("stable", "canary"):
            for number, port in enumerate(self.ports(pool), start=1):
                fixed[f"model server {pool} {number}"] = port
            for number, port in enumerate(self.grpc_ports(pool), start=1):
                fixed[f"model server {pool} {number} gRPC"] = port
        return fixed


def _numbers(text: str, name: str) -> tuple[int, ...]:
    """Return the ports of a text.

    Raises:
        SettingsError: a part is no number of a port.
    """
    try:
        ports = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(
            f"PERENNIAL_PORTS_{name.upper()} is {text!r}: not comma-separated numbers",
            hint="for two servers: 3101,3102",
        ) from error
    for port in ports:
        if not 0 < port <= LAST:
            raise SettingsError(
                f"PERENNIAL_PORTS_{name.upper()}: {port} is no port", hint=f"set ports from 1 to {LAST}"
            )
    return ports

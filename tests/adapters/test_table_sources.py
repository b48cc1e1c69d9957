"""Rows come from folders, S3 and databases as they are there; a later run reads only what is new."""

from __future__ import annotations

import pandas as pd
import pytest
import sqlalchemy as sa

from perennial.adapters.table_files import TableFile
from perennial.adapters.tables.sql_rows import Origin, SqlRows
from perennial.core.input_spec import InputKind
from perennial.errors import DatasetMissing, MalformedInput, SettingsError, ToolError

TYPES = {
    "id": InputKind.INT,
    "amount": InputKind.FLOAT,
    "kind": InputKind.CATEGORY,
    "at": InputKind.TIMESTAMP,
}


def orders(first: int, count: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": range(first, first + count),
            "amount": [number / 4 for number in range(first, first + count)],
            "kind": ["a: b", None, "100% it's"][:count],
            "at": pd.date_range("2024-01-01", periods=count, freq="h", tz="UTC"),
        }
    )


def check(table: pd.DataFrame, ids: list[int]) -> None:
    assert table["id"].tolist() == ids
    assert table["amount"].tolist() == [number / 4 for number in ids]
    assert table["at"].iloc[0] == pd.Timestamp("2024-01-01", tz="UTC")
    assert table["kind"].isna().tolist() == [number % 3 == 1 for number in range(len(ids))]


def test_a_folder_of_parquet_is_one_table(tmp_path):
    folder = tmp_path / "orders"
    (folder / "year=2024").mkdir(parents=True)
    source = TableFile(folder, TYPES | {"year": InputKind.INT}, (), "orders")
    with pytest.raises(DatasetMissing, match="holds no Parquet file"):
        source.read()
    orders(1).to_parquet(folder / "year=2024" / "1.parquet")
    before = source.revision()
    check(source.read(), [1, 2, 3])
    (folder / "year=2025").mkdir()
    orders(4).to_parquet(folder / "year=2025" / "2.parquet")
    check(source.read(), [1, 2, 3, 4, 5, 6])
    assert source.read()["year"].tolist() == [2024] * 3 + [2025] * 3
    assert source.revision() != before


@pytest.mark.server
def test_files_and_folders_in_s3(tmp_path, s3):
    s3.create_bucket(Bucket="shop")
    source = TableFile("s3://shop/orders", TYPES, (), "orders")
    with pytest.raises(DatasetMissing, match="s3://shop/orders holds no Parquet file"):
        source.read()
    for number, first in enumerate((1, 4)):
        orders(first).to_parquet(tmp_path / "part.parquet")
        s3.upload_file(str(tmp_path / "part.parquet"), "shop", f"orders/{number}.parquet")
    check(source.read(), [1, 2, 3, 4, 5, 6])
    before = source.revision()
    orders(7).to_parquet(tmp_path / "part.parquet")
    s3.upload_file(str(tmp_path / "part.parquet"), "shop", "orders/2.parquet")
    assert source.revision() != before
    check(source.read(), list(range(1, 10)))
    orders(1).to_csv(tmp_path / "orders.csv", index=False)
    s3.upload_file(str(tmp_path / "orders.csv"), "shop", "orders.csv")
    check(TableFile("s3://shop/orders.csv", TYPES, ("",), "orders").read(), [1, 2, 3])
    with pytest.raises(DatasetMissing, match="there is no table s3://shop/none"):
        TableFile("s3://shop/none.csv", TYPES, (), "orders").read()


def test_no_value_is_cast_silently(tmp_path):
    half = tmp_path / "half.csv"
    half.write_text("n\n1\n2.5\n")
    with pytest.raises(MalformedInput, match=r"row 2, n is .*2.5.*no int"):
        TableFile(half, {"n": InputKind.INT}, (), "t").read()
    parquet = tmp_path / "t.parquet"
    pd.DataFrame({"n": [1.0, 2.5], "b": [1, 2], "flag": [True, False]}).to_parquet(parquet)
    for name, kind, shown in (
        ("n", InputKind.INT, "row 2, n is 2.5"),
        ("b", InputKind.BOOL, "row 2, b is 2"),
        ("flag", InputKind.FLOAT, "row 1, flag is True"),
    ):
        with pytest.raises(MalformedInput, match=shown):
            TableFile(parquet, {name: kind}, (), "t").read()


class Database:
    """A table `orders` in a database, whose address is in the environment."""

    def __init__(self, address: str, monkeypatch) -> None:
        self.engine = sa.create_engine(address)
        monkeypatch.setenv("SHOP_DATABASE", address)
        with self.engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE IF EXISTS orders"))

    def fill(self, rows: pd.DataFrame) -> None:
        rows.to_sql("orders", self.engine, if_exists="append", index=False)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def shop(request, tmp_path, monkeypatch) -> Database:
    # A test of the SQLite case needs no PostgreSQL.
    address = (
        f"sqlite:///{tmp_path / 'shop.db'}"
        if request.param == "sqlite"
        else request.getfixturevalue("postgres")
    )
    return Database(address, monkeypatch)


QUERY = "SELECT id, amount, kind, at FROM orders WHERE kind IS NULL OR kind NOT LIKE '%: no%';"


@pytest.mark.parametrize("query", [QUERY, None])
def test_a_database_is_read_up_to_its_high_water_mark(shop, tmp_path, query):
    shop.fill(orders(1))
    origin = Origin("SHOP_DATABASE", query, None if query else "orders", "id")
    source = SqlRows(origin, TYPES, tmp_path / "tables", "orders")
    check(source.read(), [1, 2, 3])
    before = source.revision()
    assert source.refresh() == 0
    assert source.revision() == before
    shop.fill(orders(4))
    with shop.engine.begin() as connection:  # an old row is not read again
        connection.execute(sa.text("UPDATE orders SET amount = 99 WHERE id = 1"))
    assert source.refresh() == 3
    check(source.read(), [1, 2, 3, 4, 5, 6])
    assert source.revision() != before
    whole = Origin("SHOP_DATABASE", query, None if query else "orders", None)
    assert 99 in SqlRows(whole, TYPES, tmp_path / "tables", "orders").read()["amount"].tolist()


def test_a_time_is_a_high_water_mark(shop, tmp_path):
    shop.fill(orders(1))
    source = SqlRows(Origin("SHOP_DATABASE", None, "orders", "at"), TYPES, tmp_path / "tables", "orders")
    check(source.read(), [1, 2, 3])
    later = orders(4)
    shop.fill(later.assign(at=later["at"] + pd.Timedelta(days=1)))
    assert source.refresh() == 3
    check(source.read(), [1, 2, 3, 4, 5, 6])


def test_what_cannot_be_read_is_named_without_the_password(tmp_path, monkeypatch):
    origin = Origin("SHOP_DATABASE", None, "orders", "id")
    monkeypatch.delenv("SHOP_DATABASE", raising=False)
    with pytest.raises(SettingsError, match="SHOP_DATABASE is not set"):
        SqlRows(origin, TYPES, tmp_path, "orders").read()
    for address in ("nonsense:hidden", "nodriver://user:hidden@host/db"):
        monkeypatch.setenv("SHOP_DATABASE", address)
        with pytest.raises(SettingsError, match="no address of a database") as caught:
            SqlRows(origin, TYPES, tmp_path, "orders").read()
        assert "hidden" not in str(caught.value)
    shop = Database(f"sqlite:///{tmp_path / 'shop.db'}", monkeypatch)
    with pytest.raises(ToolError, match="the table orders of SHOP_DATABASE cannot be read: no such table"):
        SqlRows(origin, TYPES, tmp_path, "orders").read()
    shop.fill(orders(1).assign(id=[1, 2, None]))
    with pytest.raises(MalformedInput, match="1 rows have no id"):
        SqlRows(origin, TYPES, tmp_path, "orders").read()
    with pytest.raises(ToolError):
        SqlRows(Origin("SHOP_DATABASE", "DELETE FROM orders", None, None), TYPES, tmp_path, "orders").read()
    with shop.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM orders")).scalar_one() == 3

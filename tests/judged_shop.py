"""A small judged shop in a lake: sixteen products and a query for each of them."""

from __future__ import annotations

from intarsia.ids import ProductId, QueryId
from intarsia.lake import Lake
from intarsia.records.judgment import JudgedQuery, Judgment, Split
from intarsia.records.product import Product
from intarsia.tables.judgments import JUDGMENTS, QUERIES, judgment_to_row, query_to_row
from intarsia.tables.products import PRODUCTS, product_to_row

COLOURS, THINGS = ("red", "blue", "green", "black"), ("bag", "mug", "lamp", "dress")
TITLES = tuple(f"{colour} {thing}" for colour in COLOURS for thing in THINGS)


def split_of(n: int) -> Split:
    """The split of query n."""
    return "test" if n % 5 == 4 else "validation" if n % 4 == 3 else "train"


def fill_with_judged_shop(lake: Lake) -> Lake:
    """Publish products, queries and judgments.

    For the query "a red bag" the red bag has grade 3, other bags 1, other products 0.
    """
    products = [
        Product(
            product_id=ProductId(f"p{n:02d}"), title=title, category_path=(f"Our {title.split()[1]}s",), brand="Acorn"
        )
        for n, title in enumerate(TITLES)
    ]
    queries = [
        JudgedQuery(query_id=QueryId(f"q{n:02d}"), text=f"a {title}", image=None, locale="en", split=split_of(n))
        for n, title in enumerate(TITLES)
    ]
    judgments = [
        Judgment(query_id=query.query_id, product_id=product.product_id, grade=grade_of(TITLES[q], product.title))
        for q, query in enumerate(queries)
        for product in products
    ]
    PRODUCTS.publish(lake, PRODUCTS.from_rows([product_to_row(product, []) for product in products]))
    QUERIES.publish(lake, QUERIES.from_rows([query_to_row(query) for query in queries]))
    JUDGMENTS.publish(lake, JUDGMENTS.from_rows([judgment_to_row(judgment) for judgment in judgments]))
    return lake


def grade_of(query_title: str, title: str) -> float:
    """The grade of a title for the query of another title."""
    if query_title == title:
        return 3.0
    return 1.0 if query_title.split()[1] == title.split()[1] else 0.0

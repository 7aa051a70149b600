"""The benchmarks behind ``sdc-search benchmark`` and ``bench/``: cases, the peers they race, and the tables.

A suite is a function that lists `cases.Case`; `cases.run_case` measures one. Needs the extra ``bench``.
"""

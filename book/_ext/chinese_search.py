"""Search that finds Chinese: pages and queries are cut into pairs of neighbouring characters.

Sphinx's own Chinese search cuts the pages into words but not the query, and misses most of them.
"""

import re

from sphinx.search.en import SearchEnglish

HAN = "\u3400-\u4dbf\u4e00-\u9fff"


class PairSearch(SearchEnglish):
    lang = "zh"
    language_name = "Chinese"
    js_splitter_code = f"""
function splitQuery(query) {{
  const words = query.replace(/[{HAN}]+/g, " $& ").match(/[\\p{{L}}\\p{{N}}_]+/gu) || [];
  const pairs = (word) => [...word].slice(1).map((_, i) => word.slice(i, i + 2));
  return words.flatMap((word) => /^[{HAN}]{{2}}/.test(word) ? pairs(word) : [word]);
}}
"""

    def split(self, text):
        """Words as they are; of a run of Chinese characters every pair, and every single one."""
        words = []
        for run in re.findall(rf"[{HAN}]+|[^\W{HAN}]+", text):
            if re.match(f"[{HAN}]", run):
                words += [run[i : i + 2] for i in range(len(run) - 1)] + list(run)
            else:
                words.append(run)
        return words


def setup(app):
    app.add_search_language(PairSearch)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""How a report looks: on a screen in light and dark, and on paper."""

from __future__ import annotations

from packhorse.report.timeline import COLOURS

_LIGHT = """
--ink:#1b1f24;--dim:#5b6470;--faint:#8a929c;--paper:#fff;--card:#f7f8fa;--line:#d9dee4;--grid:#e8ebef;
--ok:#2f9e58;--bad:#d0342c;--off:#8b8f98;--now:#2b7fd4;--wait:#d5d9df;--held:#1b1f24;--used:#2f9e58;--unused:#e5b93c;
--link:#1a5fb4;
--c0:#4477aa;--c1:#ee8866;--c2:#228833;--c3:#ccbb44;--c4:#66ccee;--c5:#aa3377;--c6:#8d6e63;--c7:#99cc88;--c8:#6a5acd;
--c9:#bbbbbb;
"""
_DARK = """
--ink:#e6e9ed;--dim:#a4adb8;--faint:#7d8792;--paper:#14171b;--card:#1d2126;--line:#363d46;--grid:#282d34;
--ok:#4cc27a;--bad:#ff6b61;--off:#7a818b;--now:#5aa7f0;--wait:#4a525c;--held:#e6e9ed;--used:#4cc27a;--unused:#c99a2e;
--link:#7db4f5;
--c0:#6fa3d8;--c1:#f29b7c;--c2:#4fb765;--c3:#d9ca5a;--c4:#7fd6f2;--c5:#cf68a5;--c6:#b0958b;--c7:#a9d79a;--c8:#9a8ff0;
--c9:#9aa1aa;
"""
_SCREEN = """
*{box-sizing:border-box}
body{margin:0 auto;padding:28px 28px 60px;max-width:1140px;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:26px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:19px;margin:40px 0 10px;padding-bottom:5px;border-bottom:1px solid var(--line)}
h3{font-size:15px;margin:0 0 8px;overflow-wrap:anywhere}
p{margin:6px 0}
a{color:var(--link)}
.note,.sub{color:var(--dim)}
.note{font-size:13px}
code,pre,.mono{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{margin:6px 0;padding:9px 12px;background:var(--card);border:1px solid var(--line);border-radius:6px;
white-space:pre-wrap;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(112px,1fr));gap:8px;margin:18px 0 6px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:9px 10px}
.tile b{display:block;font-size:16.5px;line-height:1.25;font-weight:600}
.tile span{display:block;color:var(--dim);font-size:12px;line-height:1.3}
.tile.bad b{color:var(--bad)}.tile.ok b{color:var(--ok)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th{text-align:left;color:var(--dim);font-weight:600;font-size:12.5px}
th,td{padding:5px 14px 5px 0;border-bottom:1px solid var(--grid);vertical-align:top;overflow-wrap:break-word}
td{max-width:520px}
th.n,td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.mono,td .mono{overflow-wrap:anywhere}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0;font-size:13px;color:var(--dim)}
.key{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:6px;vertical-align:-1px}
.card{border:1px solid var(--line);border-radius:8px;padding:14px 16px;margin:12px 0;background:var(--card)}
.three{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:22px}
.three h4{margin:0;font-size:12.5px;color:var(--dim);font-weight:600}
.three p{font-size:13px;margin:3px 0 0}
@media screen and (max-width:760px){.three{grid-template-columns:1fr}body{padding:16px}}
.failure{border-left:4px solid var(--bad);background:var(--card);padding:10px 14px;margin:12px 0;
border-radius:0 8px 8px 0}
details>summary{cursor:pointer;color:var(--dim);font-size:13.5px;margin:6px 0}
svg{display:block;max-width:100%;height:auto}
svg.graph{margin:6px 0 16px}
svg.graph,svg.wide{min-width:min(100%,640px)}
svg text{fill:var(--ink);font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}
svg text.name{font-weight:600}
svg text.small,svg text.edge{font-size:11px;fill:var(--dim)}
svg text.edge{font-style:italic;font-size:12px;paint-order:stroke;stroke:var(--paper);stroke-width:3px}
svg text.lane{font-size:12px}
.dist text.small{font-size:10.5px}
.box{fill:var(--paper);stroke:var(--line);stroke-width:1.2}
.box-ok{stroke:var(--ok)}.box-bad{stroke:var(--bad)}
.wire{fill:none;stroke:var(--faint);stroke-width:1.3}
.arrowhead{fill:var(--faint)}
.grid{stroke:var(--grid);stroke-width:1}
.axis{stroke:var(--faint);stroke-width:1}
.granted{stroke:var(--ink);stroke-width:1.6;stroke-dasharray:3 2}
.held{fill:none;stroke:var(--held);stroke-width:1.4;stroke-dasharray:4 3}
.frame{fill:var(--card);stroke:var(--line);stroke-width:1}
.empty{fill:var(--grid)}
.bar.failed{stroke:var(--bad);stroke-width:2}
.point{opacity:.7}.point.failed{stroke:var(--bad);stroke-width:1.6}
.state-ok{fill:var(--ok)}.state-bad{fill:var(--bad)}.state-off{fill:var(--off)}.state-now{fill:var(--now)}
.state-wait{fill:var(--wait)}
.spent-used{fill:var(--used)}.spent-unused{fill:var(--unused)}.spent-lost{fill:var(--bad)}
svg.spent{width:300px}
"""
_PAPER = """
@page{margin:14mm}
@media print{
body{max-width:none;padding:0;font-size:9.5pt;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.scroll{overflow:visible}
svg.graph,svg.wide{min-width:0}
svg.wide text,svg.wide text.small{font-size:15px}
h1{font-size:17pt}h2{font-size:13pt;margin-top:22px}
table{font-size:8pt}th{font-size:7.5pt}th,td{padding:3px 8px 3px 0}th.n{white-space:normal}
.three{gap:12px}.three p,.note,.tile span{font-size:8pt}.tile b{font-size:14pt}.tile{padding:6px 9px}
svg.spent{width:100%}
pre,code,.mono{font-size:7.5pt}
h2,h3{break-after:avoid}
.card,.failure,tr,.tile,svg{break-inside:avoid}
details::details-content{content-visibility:visible;block-size:auto}
summary{list-style:none}
a{color:inherit}
}
"""


def _colours() -> str:
    return "\n".join(
        f".s{place}{{fill:var(--c{place})}}.key.s{place}{{background:var(--c{place})}}" for place in range(COLOURS)
    )


def stylesheet() -> str:
    """The whole of it. Paper is light, whatever the screen is."""
    keys = "".join(
        f".key.{kind}{{background:var(--{name})}}"
        for kind, name in (("used", "used"), ("unused", "unused"), ("lost", "bad"))
    )
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    return f":root{{color-scheme:light dark;{_LIGHT}}}{dark}{_SCREEN}{_colours()}{keys}{_PAPER}".replace("\n", "")

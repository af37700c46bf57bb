// report_style.cpp: how a report looks, on a light screen, on a dark one and on paper.
#include "models/training/report_style.h"

namespace vitrine {

const char* const report_style = R"css(
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #20272b; --muted: #5d686e; --faint: #e4e2db; --accent: #0f6b6b;
  --hit: #1d6fa5; --miss: #c2571a; --strong: #ffffff; --c1: #1d6fa5; --c2: #c2571a; --c3: #3d7a3d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181b; --card: #1b2024; --ink: #e3e6e4; --muted: #9aa5aa; --faint: #2d353a; --accent: #6cc5bd;
    --hit: #5aa9dd; --miss: #ec9457; --strong: #101417; --c1: #5aa9dd; --c2: #ec9457; --c3: #86c386;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main, header, footer { max-width: 70rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 3rem; }
h1, h2 { font-family: Charter, "Iowan Old Style", "Palatino Linotype", Palatino, "DejaVu Serif", Georgia, serif;
  font-weight: 600; line-height: 1.2; letter-spacing: -.01em; }
h1 { font-size: 2.1rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.45rem; margin: 0 0 .4rem; }
h3 { font-size: 1rem; font-weight: 600; margin: 0 0 .4rem; }
.kicker { color: var(--accent); font-size: .85rem; font-weight: 600; letter-spacing: .06em; text-transform: uppercase; margin: 0 0 .3rem; }
section { padding: 2.2rem 0 1rem; }
section + section { border-top: 1px solid var(--faint); }
p { margin: 0 0 .8rem; max-width: 46rem; }
.caption, .none { color: var(--muted); font-size: .92rem; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; font-size: .88em; overflow-wrap: anywhere; }
small { color: var(--muted); }
nav { margin: 1.2rem 0 0; font-size: .92rem; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; }
nav a { color: var(--accent); text-decoration: none; }
nav a:hover, nav a:focus { text-decoration: underline; }
.numbers { display: flex; flex-wrap: wrap; gap: 1rem; margin: .6rem 0 1.4rem; padding: 0; list-style: none; }
.numbers li { color: var(--muted); font-size: .85rem; background: var(--card); border: 1px solid var(--faint); border-radius: .6rem; padding: .9rem 1.2rem; min-width: 9.5rem; }
.numbers b { color: var(--ink); display: block; font-size: 1.7rem; font-weight: 600; letter-spacing: -.02em; font-variant-numeric: tabular-nums; line-height: 1.25; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.4rem; margin: 0; }
.facts dt { color: var(--muted); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
details { margin-top: 1.2rem; }
summary { cursor: pointer; color: var(--accent); }
.settings { list-style: none; padding: 0; margin: .6rem 0 0; font-size: .9rem; display: grid;
  grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .15rem 1.4rem; }
.settings li { display: flex; justify-content: space-between; gap: .8rem; border-bottom: 1px solid var(--faint); overflow-wrap: anywhere; }
.settings span { color: var(--muted); }
.three { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1.6rem; margin-top: 1rem; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.6rem; margin-top: 1rem; align-items: start; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .88rem; color: var(--muted); }
.panel { background: var(--card); border: 1px solid var(--faint); border-radius: .6rem; padding: 1rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--muted); unicode-bidi: isolate; }
.chart .grid { stroke: var(--faint); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); } .line.c3 { stroke: var(--c3); }
.dot.c1 { fill: var(--c1); } .dot.c2 { fill: var(--c2); } .dot.c3 { fill: var(--c3); }
.keys { display: inline-flex; gap: 1rem; font-size: .85rem; color: var(--muted); font-weight: 400; margin-left: .8rem; }
.keys i { display: inline-block; width: 1.1em; height: 0; border-top: 3px solid; margin-right: .4em; vertical-align: middle; border-radius: 2px; }
.keys .c1 { border-color: var(--c1); } .keys .c2 { border-color: var(--c2); } .keys .c3 { border-color: var(--c3); }
.wide { overflow-x: auto; }
.matrix { margin: 0 auto; shape-rendering: crispEdges; }
.matrix .field { fill: none; stroke: var(--faint); }
.matrix .hit { fill: var(--hit); } .matrix .miss { fill: var(--miss); }
.matrix text.side { fill: var(--ink); } .matrix text.small { font-size: 10px; }
.matrix text.count { fill: var(--ink); pointer-events: none; font-variant-numeric: tabular-nums; }
.matrix text.strong { fill: var(--strong); }
table { border-collapse: collapse; font-size: .92rem; margin: .4rem 0 0; }
th { text-align: left; font-weight: 600; color: var(--muted); }
th, td { padding: .3rem 1.4rem .3rem 0; border-bottom: 1px solid var(--faint); overflow-wrap: anywhere; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bars { margin-top: 1rem; font-size: .9rem; }
.bars.many { max-height: 34rem; overflow-y: auto; border: 1px solid var(--faint); border-radius: .6rem; padding: .6rem 1rem; background: var(--card); }
.bar { display: grid; grid-template-columns: minmax(6rem, 13rem) 1fr 4.2rem 7.2rem; gap: .9rem; align-items: center; padding: .12rem 0; }
.bar .who { text-align: right; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.bar .track { background: var(--faint); border-radius: 3px; height: .8rem; overflow: hidden; }
.bar .track i { display: block; height: 100%; background: var(--hit); border-radius: 3px; }
.bar .share, .bar .of { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar .of { color: var(--muted); }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.6rem, 1fr)); gap: 1.2rem; margin-top: 1rem; }
.gallery img { width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: .4rem; background: var(--faint); }
img.fine { image-rendering: pixelated; }
.gallery .says { display: block; color: var(--ink); line-height: 1.35; overflow-wrap: anywhere; }
.gallery .is { display: block; line-height: 1.35; overflow-wrap: anywhere; }
.gallery .from { display: block; font-size: .75rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.gallery .says b { color: var(--miss); font-weight: 600; }
.seen { margin-top: 1.6rem; }
.seen > p { margin-bottom: .4rem; }
.right { color: var(--hit); font-weight: 600; } .wrong { color: var(--miss); font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; }
.tile { position: relative; aspect-ratio: 1; border-radius: .4rem; overflow: hidden; background: var(--faint); }
.tile .under, .tile .over { position: absolute; inset: 0; width: 100%; height: 100%; }
.tile .under { background-size: 100% 100%; }
.tile .under.fine { image-rendering: pixelated; }
.tile .under.grey { filter: grayscale(1); }
.tile .over { image-rendering: pixelated; }
.tiles figcaption { line-height: 1.35; margin-top: .35rem; }
.tiles figcaption b { color: var(--ink); font-weight: 600; display: block; }
.scale { display: inline-block; width: 8rem; height: .7rem; border-radius: 3px; vertical-align: middle; margin: 0 .5rem; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; margin: 1rem 0 0; font-size: .9rem; }
.legend.many { max-height: 13rem; overflow-y: auto; border: 1px solid var(--faint); border-radius: .6rem; padding: .6rem 1rem; }
.legend li { display: flex; align-items: center; gap: .35rem; }
.legend svg { width: 1rem; height: 1rem; flex: none; }
.mark { fill-opacity: .8; stroke-width: 1.2; }
.mark.hollow { fill-opacity: 0; stroke-width: 1.6; }
.k0 { fill: #4e79a7; stroke: #4e79a7; } .k1 { fill: #f28e2b; stroke: #f28e2b; } .k2 { fill: #e15759; stroke: #e15759; }
.k3 { fill: #3fa7a0; stroke: #3fa7a0; } .k4 { fill: #59a14f; stroke: #59a14f; } .k5 { fill: #c9a227; stroke: #c9a227; }
.k6 { fill: #b07aa1; stroke: #b07aa1; } .k7 { fill: #ff8fa3; stroke: #ff8fa3; } .k8 { fill: #9c755f; stroke: #9c755f; }
.k9 { fill: #8a8f94; stroke: #8a8f94; }
footer { border-top: 1px solid var(--faint); padding-top: 1.2rem; padding-bottom: 3rem; color: var(--muted); font-size: .88rem; margin-top: 1.5rem; }
@media (max-width: 40rem) {
  .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: .5rem; }
  .bar { grid-template-columns: 7rem 1fr 3.8rem; } .bar .of { display: none; }
}
@media print { nav { display: none; } section { break-inside: avoid-page; } .bars.many, .legend.many { max-height: none; } }
)css";

}  // namespace vitrine

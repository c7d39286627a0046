"""The grading pages, as Jinja templates. Everything that a student wrote is escaped, and the pages run no scripts."""

_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:1.5rem auto;padding:0 1rem;color:#1a1a1a}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem;border-top:2px solid #ddd;padding-top:1rem}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
table{border-collapse:collapse}td,th{padding:.25rem .7rem .25rem 0;text-align:left;vertical-align:top}
th{font-weight:600;border-bottom:1px solid #bbb}.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.overview tr:hover td{background:#f3f6fa}.overview td{border-bottom:1px solid #eee}
.ok{color:#156c2f}.bad{color:#a40e1d}.wait{color:#8a5a00}.soft{color:#666}
.two{display:grid;grid-template-columns:1fr 1fr;gap:1.5rem}.two>div{min-width:0}
.two>div>b{display:block;border-bottom:1px solid #ddd;margin-bottom:.4rem}
img{max-width:100%}pre{font-size:12px;line-height:1.35;overflow:auto;max-height:22rem;background:#f6f6f6;padding:.5rem;margin:.3rem 0}
.words{border-left:3px solid #ccc;padding-left:.8rem;overflow-wrap:anywhere}.mark{background:#fff6dd;padding:.3rem .6rem}
nav{display:flex;justify-content:space-between}
</style>
"""

STUDENT = _HEAD + """
<nav><span>{% if before %}<a href="{{ before[1] }}">← {{ before[0] }}</a>{% endif %}</span><a href="../index.html">all students</a>
<span>{% if after %}<a href="{{ after[1] }}">{{ after[0] }} →</a>{% endif %}</span></nav>
<h1>{{ title }}</h1>
<p>{% for name, (earned, of) in total.totals.items() %}<b>{{ name }}: {{ "%g"|format(earned) }}</b> of {{ of }}{{ " · " if not loop.last }}{% endfor %}
{% if total.waiting %}<span class="wait"> · {{ total.waiting }} marks waiting for you in marks.csv</span>{% endif %}</p>
{% for problem in total.problems %}<p class="bad">{{ problem }}</p>{% endfor %}
{% for name, record in records.items() %}
<h2 id="{{ name }}">{{ name }} <span class="soft">· {{ "%g"|format(total.notebooks[name].automatic + total.notebooks[name].by_hand) }}
of {{ total.notebooks[name].points }}</span></h2>
{% if record.problem %}<p class="bad">{{ record.problem }}</p>{% else %}
<table>
{% for task in record.tasks %}
<tr><th colspan="2">{{ task.name }}</th><th class="n">{{ task.earned }} of {{ task.points }}</th><th></th></tr>
{% for check in task.checks %}<tr><td class="{{ 'bad' if check.reason else 'ok' }}">{{ "✗" if check.reason else "✓" }}</td>
<td>{{ check.text }}</td><td class="n">{{ check.earned }} of {{ check.points }}</td><td class="bad">{{ check.reason or "" }}</td></tr>{% endfor %}
{% endfor %}
</table>
{% if record.remarks or record.errors %}<h3>Found on the way</h3><ul>
{% for remark in record.remarks %}<li>{{ remark }}</li>{% endfor %}
{% for error in record.errors %}<li class="bad">{{ error }}</li>{% endfor %}</ul>{% endif %}
{% for item in record.by_hand %}
<h3>{{ item.name }} <span class="soft">· {{ item.points }} points, yours to give</span></h3>
<p class="mark">{% if item.mark is not none %}<b>{{ "%g"|format(item.mark) }} of {{ item.points }}</b> {{ item.remark }}
{% else %}<span class="wait">no mark yet</span>: fill in the row <code>{{ student }}, {{ name }}, {{ item.name }}</code> of marks.csv{% endif %}</p>
<div class="two"><div><b>the student's</b>
{% if item.words %}<div class="words">{{ item.words_html }}</div>{% endif %}
{% for picture in item.pictures %}<img alt="the student's figure" src="data:image/png;base64,{{ picture }}">{% endfor %}
{% if not item.words and not item.pictures %}<p class="bad">nothing to see: {{ item.why }}</p>{% endif %}
</div><div><b>ours</b>
{% if item.ours.words_html %}<div class="words">{{ item.ours.words_html }}</div>{% endif %}
{% for file in item.ours.pictures %}<img alt="our figure" src="../{{ file }}">{% endfor %}
{% if item.ours.tables %}<details open><summary>measured</summary>{% for table in item.ours.tables %}<pre>{{ table }}</pre>{% endfor %}</details>{% endif %}
</div></div>
{% endfor %}
<details><summary>check cells as they ran here (small sizes; they do not count)</summary>
{% for id, told in record.cells.items() if id.startswith("check-") %}<p><code>{{ id }}</code>
{% if told.error %}<span class="bad">{{ told.error }}</span>{% else %}<span class="ok">passed</span>{% endif %}</p>
{% if told.text %}<pre>{{ told.text }}</pre>{% endif %}{% endfor %}</details>
<p class="soft">executed in {{ "%.1f"|format(record.seconds.get("notebook", 0)) }} s after {{ "%.1f"|format(record.seconds.get("start", 0)) }} s of
start and imports; at most {{ record.peak // 1048576 }} MiB</p>
{% endif %}
{% endfor %}
</html>
"""

OVERVIEW = _HEAD + """
<h1>{{ title }}</h1>
{% if not isolated %}<p class="bad">Graded without isolation: submissions could reach files and the network.</p>{% endif %}
<p>{{ rows|length }} students · {{ waiting }} marks waiting in <a href="marks.csv">marks.csv</a> (fill in the column “mark”, run the same
command again) · <a href="grades.csv">grades.csv</a></p>
<h2>Tasks</h2>
<table><tr><th>notebook</th><th>task</th><th class="n">mean</th><th class="n">full points</th><th>points most often lost for</th></tr>
{% for task in tasks %}<tr><td>{{ task.notebook }}</td><td>{{ task.name }}</td><td class="n">{{ "%.1f"|format(task.mean) }} of {{ task.points }}</td>
<td class="n">{{ task.full }} of {{ task.n }}</td><td>{% for reason, n in task.reasons %}{{ n }} × {{ reason }}<br>{% endfor %}</td></tr>{% endfor %}
</table>
<h2>Students</h2>
<table class="overview"><tr><th>student</th>{% for name in names %}<th class="n">{{ name.replace("_", " ") }}<br>of {{ points[name] }}</th>{% endfor %}
{% for name, of in totals %}<th class="n">{{ name }}<br>of {{ of }}</th>{% endfor %}<th class="n">marks<br>waiting</th><th>problems</th></tr>
{% for student, file, total in rows %}<tr><td><a href="{{ file }}">{{ student }}</a></td>
{% for name, one in total.notebooks.items() %}<td class="n">{{ "%g"|format(one.automatic + one.by_hand) }}</td>{% endfor %}
{% for name, (earned, of) in total.totals.items() %}<td class="n"><b>{{ "%g"|format(earned) }}</b></td>{% endfor %}
<td class="n {{ 'wait' if total.waiting }}">{{ total.waiting or "" }}</td>
<td class="bad">{{ total.problems|join("; ")|truncate(160) }}</td></tr>{% endfor %}
</table></html>
"""

"""Plain values become text of a page, whatever they hold."""

from distributed_kd.reports.markup import Html, element, lines, table


def test_what_is_no_html_is_escaped():
    assert element("p", "a < b & \"c\" 'd'") == "<p>a &lt; b &amp; &quot;c&quot; &#x27;d&#x27;</p>"
    assert element("p", element("b", "x"), 5) == "<p><b>x</b>5</p>"
    assert element("a", "x", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;">x</a>'


def test_attributes():
    assert element("td", "x", class_="text", data_value="1", hidden=True, title=None) == (
        '<td class="text" data-value="1" hidden>x</td>'
    )
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_what_cannot_be_seen_is_left_out_and_lines_are_kept():
    assert element("p", "a\x00\x1b[1m\u202eb\nc") == "<p>a[1mbc</p>"
    assert element("pre", lines(["a<", "b"])) == "<pre>a&lt;\nb</pre>"


def test_a_table():
    made = table(("x", "y"), [("<", Html("<th>y</th>"))], words=("x",), label="both")
    assert '<th scope="col" class="text">x</th><th scope="col">y</th>' in made
    assert "<tr><td>&lt;</td><th>y</th></tr>" in made
    assert 'aria-label="both"' in made

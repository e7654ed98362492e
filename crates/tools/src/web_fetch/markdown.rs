//! What a page says, as text a model can read: headings, lists, tables, links and code keep their form, and what is no text
//! (scripts, styles, menus) is left out.

use reqwest::Url;

use super::html::{Piece, Pieces, Tag};

/// A page in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Readable {
    /// What it calls itself.
    pub(super) title: Option<String>,
    /// What it says.
    pub(super) text: String,
    /// Whether it says more than was to be written.
    pub(super) cut: bool,
}

/// How deeply lists and quotations are shown.
const DEEPEST: usize = 6;

/// The longest address that is shown: some hold a whole picture.
const LONGEST_LINK: usize = 2_000;

/// Elements that are left out with all they hold.
const LEFT_OUT: &[&str] = &["noscript", "template", "svg", "canvas", "object", "select", "nav", "dialog", "math"];

/// Elements that stand on lines of their own.
const BLOCKS: &[&str] = &[
    "p",
    "div",
    "section",
    "article",
    "main",
    "header",
    "footer",
    "aside",
    "ul",
    "ol",
    "dl",
    "dt",
    "dd",
    "figure",
    "figcaption",
    "form",
    "fieldset",
    "table",
    "address",
    "details",
    "summary",
    "body",
    "center",
    "caption",
];

/// Puts a page into words; about `most` bytes of them. `base` is where it is, for the addresses it names.
pub(super) fn readable(html: &str, base: &Url, most: usize) -> Readable {
    let title = title(html);
    let whole = Writer::write(html, base, most);
    // A page that says where its contents are means just these.
    let lower = html.to_ascii_lowercase();
    let main = lower.find("<main").zip(lower.rfind("</main")).filter(|(from, to)| from < to);
    let main = main.map(|(from, to)| Writer::write(&html[from..to], base, most));
    let (text, cut) = match main {
        Some((text, cut)) if text.len() >= ENOUGH => (text, cut),
        Some(_) | None => whole,
    };
    Readable { title, text, cut }
}

/// So much of a page is taken for its contents.
const ENOUGH: usize = 200;

fn title(html: &str) -> Option<String> {
    let found = Pieces::of(html).find_map(|piece| match piece {
        Piece::Raw(name, text) if name.eq_ignore_ascii_case("title") => Some(decoded(text)),
        _ => None,
    })?;
    let title = found.split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty()).then(|| title.chars().take(300).collect())
}

fn decoded(text: &str) -> String {
    html_escape::decode_html_entities(text).into_owned()
}

/// What must come before the next word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    None,
    Space,
    Line,
    Paragraph,
}

struct Writer<'w> {
    base: &'w Url,
    most: usize,
    out: String,
    gap: Gap,
    /// Goes before the next word, on a line of its own.
    mark: String,
    /// How many of the elements that are left out are open.
    left_out: usize,
    pre: usize,
    quotes: usize,
    /// The open lists: the number of the last entry, or none if they aren't numbered.
    lists: Vec<Option<usize>>,
    /// Lists opened beyond those that are shown.
    deeper: usize,
    /// Where the text of an open link begins, and where it leads.
    link: Option<(usize, String)>,
    /// Cells written in the row of a table, and whether it is a heading.
    cells: usize,
    heading: bool,
}

impl<'w> Writer<'w> {
    fn write(html: &str, base: &'w Url, most: usize) -> (String, bool) {
        let mut writer = Writer {
            base,
            most,
            out: String::new(),
            gap: Gap::None,
            mark: String::new(),
            left_out: 0,
            pre: 0,
            quotes: 0,
            lists: Vec::new(),
            deeper: 0,
            link: None,
            cells: 0,
            heading: false,
        };
        let mut cut = false;
        for piece in Pieces::of(html) {
            if writer.out.len() > writer.most {
                cut = true;
                break;
            }
            writer.take(&piece);
        }
        writer.close_link();
        (writer.out.trim().to_owned(), cut)
    }

    fn take(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Text(text) if self.left_out == 0 => {
                let room = self.most.saturating_sub(self.out.len()) + 1;
                let end = (room.min(text.len())..=text.len()).find(|at| text.is_char_boundary(*at));
                self.say(&decoded(&text[..end.unwrap_or(text.len())]));
            }
            Piece::Open(tag) => self.open(tag),
            Piece::Close(name) => self.close(&name.to_ascii_lowercase()),
            Piece::Raw(name, text) if self.left_out == 0 && name.eq_ignore_ascii_case("textarea") => {
                self.say(&decoded(text));
            }
            Piece::Text(_) | Piece::Raw(..) => {}
        }
    }

    fn open(&mut self, tag: &Tag<'_>) {
        let name = tag.name.to_ascii_lowercase();
        let name = name.as_str();
        if LEFT_OUT.contains(&name) {
            self.left_out += 1;
        }
        if self.left_out > 0 {
            return;
        }
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.leave(Gap::Paragraph);
                let level = usize::from(name.as_bytes()[1] - b'0');
                self.mark = format!("{} ", "#".repeat(level));
            }
            "br" => self.leave(Gap::Line),
            "hr" => {
                self.leave(Gap::Paragraph);
                self.put("---");
                self.leave(Gap::Paragraph);
            }
            "ul" | "ol" => {
                self.leave(if self.lists.is_empty() { Gap::Paragraph } else { Gap::Line });
                match self.lists.len() {
                    DEEPEST.. => self.deeper += 1,
                    _ => self.lists.push((name == "ol").then_some(0)),
                }
            }
            "li" => {
                self.leave(Gap::Line);
                let indent = "  ".repeat(self.lists.len().saturating_sub(1));
                self.mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{indent}{number}. ")
                    }
                    Some(None) | None => format!("{indent}- "),
                };
            }
            "blockquote" => {
                self.leave(Gap::Paragraph);
                self.quotes += 1;
            }
            "pre" => {
                self.leave(Gap::Paragraph);
                if self.pre == 0 {
                    self.put("```");
                    self.raw("\n");
                }
                self.pre += 1;
            }
            "code" | "kbd" | "samp" | "tt" if self.pre == 0 => self.mark_inline("`"),
            "a" => self.open_link(tag),
            "img" => self.picture(tag),
            "tr" => {
                self.leave(Gap::Line);
                (self.cells, self.heading) = (0, false);
            }
            "td" | "th" => {
                self.heading |= name == "th";
                if self.cells > 0 {
                    self.gap = self.gap.min(Gap::Space);
                    self.put(" | ");
                    self.gap = Gap::None;
                }
                self.cells += 1;
            }
            _ if BLOCKS.contains(&name) => self.leave(Gap::Paragraph),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if LEFT_OUT.contains(&name) {
            self.left_out = self.left_out.saturating_sub(1);
            return;
        }
        if self.left_out > 0 {
            return;
        }
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.mark.clear();
                self.leave(Gap::Paragraph);
            }
            "ul" | "ol" => {
                match self.deeper {
                    0 => drop(self.lists.pop()),
                    _ => self.deeper -= 1,
                }
                self.mark.clear();
                self.leave(if self.lists.is_empty() { Gap::Paragraph } else { Gap::Line });
            }
            "li" => {
                self.mark.clear();
                self.leave(Gap::Line);
            }
            "blockquote" => {
                self.leave(Gap::Paragraph);
                self.quotes = self.quotes.saturating_sub(1);
            }
            "pre" if self.pre > 0 => {
                self.pre -= 1;
                if self.pre == 0 {
                    if !self.out.ends_with('\n') {
                        self.raw("\n");
                    }
                    self.raw("```");
                    self.gap = Gap::Paragraph;
                }
            }
            "code" | "kbd" | "samp" | "tt" if self.pre == 0 => self.mark_inline("`"),
            "a" => self.close_link(),
            "tr" => {
                if self.heading && self.cells > 0 {
                    self.gap = Gap::Line;
                    let cells = self.cells.min(50);
                    self.put(&vec!["---"; cells].join(" | "));
                }
                (self.cells, self.heading) = (0, false);
                self.leave(Gap::Line);
            }
            _ if BLOCKS.contains(&name) => self.leave(Gap::Paragraph),
            _ => {}
        }
    }

    /// Says this, its white space as the page's is shown.
    fn say(&mut self, text: &str) {
        if self.pre > 0 {
            return self.raw(text);
        }
        let mut words = text.split(|c: char| c.is_whitespace() && c != '\u{a0}').peekable();
        while let Some(word) = words.next() {
            if !word.is_empty() {
                self.put(word);
            }
            if words.peek().is_some() {
                self.leave(Gap::Space);
            }
        }
    }

    /// So much is to be left free before the next word.
    fn leave(&mut self, gap: Gap) {
        self.gap = self.gap.max(gap);
    }

    /// Writes this, after the gap and the mark that are due.
    fn put(&mut self, text: &str) {
        match self.gap {
            _ if self.out.is_empty() => self.begin_line(),
            Gap::None => {}
            Gap::Space if self.out.ends_with(['\n', ' ']) => {}
            Gap::Space => self.out.push(' '),
            Gap::Line => {
                self.raw("\n");
                self.begin_line();
            }
            Gap::Paragraph => {
                self.raw("\n\n");
                self.begin_line();
            }
        }
        self.gap = Gap::None;
        self.out += &std::mem::take(&mut self.mark);
        self.out += text;
    }

    fn begin_line(&mut self) {
        self.out += &"> ".repeat(self.quotes.min(DEEPEST));
    }

    /// Writes this as it is.
    fn raw(&mut self, text: &str) {
        self.out += text;
    }

    /// Marks the beginning or the end of something within a line.
    fn mark_inline(&mut self, mark: &str) {
        let inside = self.gap < Gap::Line;
        if inside {
            self.put(mark);
        }
    }

    fn open_link(&mut self, tag: &Tag<'_>) {
        self.close_link();
        let Some(target) = tag.attribute("href").and_then(|href| self.target(href)) else { return };
        self.put("[");
        self.link = Some((self.out.len(), target));
    }

    fn close_link(&mut self) {
        let Some((begin, target)) = self.link.take() else { return };
        if self.out.len() == begin {
            self.out.pop();
            return;
        }
        let same = self.out[begin..] == *target;
        self.out += &if same { "]".to_owned() } else { format!("]({target})") };
    }

    fn picture(&mut self, tag: &Tag<'_>) {
        let Some(alt) = tag.attribute("alt").map(decoded).filter(|alt| !alt.trim().is_empty()) else { return };
        let alt: String = alt.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(500).collect();
        match tag.attribute("src").and_then(|src| self.target(src)) {
            Some(target) => self.put(&format!("![{alt}]({target})")),
            None => self.put(&format!("![{alt}]")),
        }
    }

    /// Where an address of the page leads, if that is on the web and not just another place of the same page.
    fn target(&self, given: &str) -> Option<String> {
        if given.len() > LONGEST_LINK || given.trim().starts_with('#') {
            return None;
        }
        let target = self.base.join(decoded(given).trim()).ok()?;
        let shown = matches!(target.scheme(), "http" | "https" | "mailto") && target.as_str().len() <= LONGEST_LINK;
        shown.then(|| target.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{Readable, readable};

    fn page(html: &str) -> Readable {
        readable(html, &"https://example.com/docs/page".parse().expect("an address"), 10_000)
    }

    #[test]
    fn a_page_keeps_its_form_and_loses_its_clutter() {
        let html = r#"<!doctype html><html><head><title> The
            &lt;Title&gt; </title><style>p { color: red }</style><script>alert("<p>no</p>")</script></head>
            <body><nav><ul><li><a href="/">Home</a></li></ul></nav>
            <h1>Heading <em>one</em></h1><p>Some   text,<br>and a <a href="../other?a=1&amp;b=2">link</a>.</p>
            <ul><li>one<li>two<ol><li>inner</ol></ul>
            <pre><code>let x  = 1;
let y = 2;</code></pre>
            <p>Call <code>run()</code>&nbsp;now.</p>
            <blockquote><p>Said</p><p>twice</p></blockquote>
            <table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>
            <img src="/x.png" alt="A picture"><img src="data:image/png;base64,AAAA" alt=""><hr>
            <a href="javascript:alert(1)">no</a> <a href="mailto:a@example.com">mail</a> <a href="https://x.example/"></a>end
            </body></html>"#;
        let expected = "# Heading one

Some text,
and a [link](https://example.com/other?a=1&b=2).

- one
- two
  1. inner

```
let x  = 1;
let y = 2;
```

Call `run()`\u{a0}now.

> Said

> twice

A | B
--- | ---
1 | 2

![A picture](https://example.com/x.png)

---

no [mail](mailto:a@example.com) end";
        let page = page(html);
        assert_eq!(page.text, expected, "\n{}", page.text);
        assert_eq!((page.title.as_deref(), page.cut), (Some("The <Title>"), false));
    }

    #[test]
    fn what_a_page_calls_its_main_part_is_taken() {
        let main = "It says a lot of things. ".repeat(20);
        let text = page(&format!("<body><p>menu</p><main><p>{main}</p></main><footer>legal</footer>")).text;
        assert_eq!(text, main.trim());
        assert!(page("<body><p>all</p><main>too little</main>").text.starts_with("all"));
    }

    #[test]
    fn hostile_pages_stay_small() {
        let deep = |tag: &str| format!("<{tag}>").repeat(20_000) + "x";
        for tag in ["ul", "ol", "blockquote", "li", "pre", "table", "tr", "td", "a href=a", "h1", "nav", "b"] {
            let text = page(&(deep(tag) + "<p>word ".repeat(10_000).as_str())).text;
            assert!(text.len() < 40_000, "{tag}: {}", text.len());
        }
        let base = format!("https://example.com/{}/", "x".repeat(1_500)).parse().expect("an address");
        let many = readable(&"<a href=a>x</a>".repeat(20_000), &base, 10_000);
        assert!(many.text.len() < 20_000 && many.cut, "{}", many.text.len());
        let attributes: String = (0..100_000).map(|at| format!(" a{at}=1")).collect();
        assert_eq!(page(&format!("<p{attributes}>x")).text, "x");
    }
}

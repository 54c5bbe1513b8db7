//! Markdown as HTML that is safe in a Matrix client and on the web page.
//!
//! Only tags of Matrix's list: <https://spec.matrix.org/v1.15/client-server-api/#mroommessage-msgtypes>

use pulldown_cmark::{
    Alignment, CodeBlockKind, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, TextMergeStream,
    html::push_html,
};

use super::markdown::inert;

// Close to the specification's list. Links of other schemes could start a program on the reader's device.
// <https://spec.matrix.org/v1.15/client-server-api/#mroommessage-msgtypes>
const SCHEMES: [&str; 5] = ["https://", "http://", "mailto:", "magnet:", "matrix:"];

/// The HTML of `markdown`. Raw HTML in it is shown as text, and links lead only where people expect.
pub fn html(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut filter = EventFilter::default();
    let events = TextMergeStream::new(Parser::new_ext(markdown, options)).map(|event| filter.apply(event));
    let mut out = String::new();
    push_html(&mut out, events);
    out.truncate(out.trim_end().len());
    out
}

/// Changes what pulldown-cmark would write in a form that is not shown, or should not be.
#[derive(Default)]
struct EventFilter {
    in_code_block: bool,
    in_head: bool,
    alignments: Vec<Alignment>,
    column: usize,
    /// For each open link or image whether it became a link.
    links: Vec<bool>,
}

impl EventFilter {
    fn apply<'a>(&mut self, event: Event<'a>) -> Event<'a> {
        match event {
            Event::Text(text) => self.text(&text),
            Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(text) => Event::Code(inert(&text).into_owned().into()),
            // In a chat, people and agents mean the line breaks that they write.
            Event::SoftBreak => Event::HardBreak,
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            event => event,
        }
    }

    fn start<'a>(&mut self, tag: Tag<'a>) -> Event<'a> {
        match tag {
            Tag::HtmlBlock => return Event::Start(Tag::Paragraph),
            Tag::CodeBlock(kind) => {
                self.in_code_block = true;
                return Event::Start(Tag::CodeBlock(with_plain_language(kind)));
            }
            // An image is a link to it: clients load none from elsewhere.
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => return self.link(dest_url),
            Tag::Table(alignments) => {
                // Clients drop `style`, which pulldown-cmark writes; `align` is what some show and all accept.
                let cells = vec![Alignment::None; alignments.len()];
                self.alignments = alignments;
                return Event::Start(Tag::Table(cells));
            }
            Tag::TableHead => (self.in_head, self.column) = (true, 0),
            Tag::TableRow => self.column = 0,
            Tag::TableCell => return self.cell(),
            _ => {}
        }
        Event::Start(tag)
    }

    fn end<'a>(&mut self, tag: TagEnd) -> Event<'a> {
        match tag {
            TagEnd::HtmlBlock => return Event::End(TagEnd::Paragraph),
            TagEnd::CodeBlock => self.in_code_block = false,
            TagEnd::TableHead => self.in_head = false,
            TagEnd::Link | TagEnd::Image => {
                return if self.links.pop() == Some(true) { Event::End(TagEnd::Link) } else { nothing() };
            }
            _ => {}
        }
        Event::End(tag)
    }

    fn text<'a>(&self, text: &str) -> Event<'a> {
        let text = inert(text);
        // Some clients (Nheko) show the last line break of a code block as an empty line.
        let text = if self.in_code_block { text.strip_suffix('\n').unwrap_or(&text) } else { &text };
        Event::Text(text.to_owned().into())
    }

    fn link<'a>(&mut self, dest_url: CowStr<'a>) -> Event<'a> {
        let is_of = |scheme: &&str| {
            dest_url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        let allowed = SCHEMES.iter().any(is_of);
        self.links.push(allowed);
        if !allowed {
            return nothing();
        }
        // A title is not among the attributes that the specification allows.
        let (title, id) = (CowStr::Borrowed(""), CowStr::Borrowed(""));
        Event::Start(Tag::Link { link_type: LinkType::Inline, dest_url, title, id })
    }

    fn cell<'a>(&mut self) -> Event<'a> {
        let alignment = self.alignments.get(self.column).copied();
        self.column += 1;
        let align = match alignment {
            Some(Alignment::Right) => "right",
            Some(Alignment::Center) => "center",
            Some(Alignment::Left | Alignment::None) | None => return Event::Start(Tag::TableCell),
        };
        let name = if self.in_head { "th" } else { "td" };
        // pulldown-cmark's writer knows only `style`, so the tag is written here; the writer still closes it.
        Event::InlineHtml(format!("<{name} align=\"{align}\">").into())
    }
}

fn nothing<'a>() -> Event<'a> {
    Event::Text(CowStr::Borrowed(""))
}

fn with_plain_language(kind: CodeBlockKind<'_>) -> CodeBlockKind<'_> {
    let CodeBlockKind::Fenced(info) = kind else { return CodeBlockKind::Indented };
    // The rest of the info string is foreign text inside an attribute; clients read only `class="language-…"`.
    let word = info.split_whitespace().next().unwrap_or_default();
    let language: String = word.chars().filter(|c| c.is_alphanumeric() || "+-_#".contains(*c)).collect();
    CodeBlockKind::Fenced(language.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_block_has_its_tags() {
        let sample = "# Result of `make`\n\nAll **good**, ~~bad~~ *fine*.\nSecond & last.\n\n- one\n- two\n  1. inner\n\n3. third\n\n\
            ```sh ignored\necho \"hi\" && <x>\n```\n\n> quoted\n\n| Story | Cost |\n|---|---:|\n| 12 | 1.20 |\n\n---\n";
        insta::assert_snapshot!(html(sample), @r#"
        <h1>Result of <code>make</code></h1>
        <p>All <strong>good</strong>, <del>bad</del> <em>fine</em>.<br />
        Second &amp; last.</p>
        <ul>
        <li>one</li>
        <li>two
        <ol>
        <li>inner</li>
        </ol>
        </li>
        </ul>
        <ol start="3">
        <li>third</li>
        </ol>
        <pre><code class="language-sh">echo "hi" &amp;&amp; &lt;x&gt;</code></pre>
        <blockquote>
        <p>quoted</p>
        </blockquote>
        <table><thead><tr><th>Story</th><th align="right">Cost</th></tr></thead><tbody>
        <tr><td>12</td><td align="right">1.20</td></tr>
        </tbody></table>
        <hr />
        "#);
    }

    #[test]
    fn markup_pings_and_strange_links_are_only_text() {
        assert_eq!(html("<b onclick=x>hi</b> @room"), "<p>&lt;b onclick=x&gt;hi&lt;/b&gt; @\u{200b}room</p>");
        assert_eq!(html("[x](javascript:alert(1)) [y](JavaScript:z)"), "<p>x y</p>");
        assert_eq!(html("[x](https://e.org/\"a)"), "<p><a href=\"https://e.org/%22a\">x</a></p>");
        assert_eq!(html("![cat](https://e.org/c.png)"), "<p><a href=\"https://e.org/c.png\">cat</a></p>");
    }

    proptest! {
        #[test]
        fn every_tag_is_one_of_ours_and_is_closed(text in "(\\PC|[<>&\"'#`*_|\\[\\]()~\n -]|</?[a-z]+>|[a-z ]){0,60}") {
            let html = html(&text);
            let mut open = Vec::new();
            for piece in html.split('<').skip(1) {
                let (tag, _) = piece.split_once('>').expect("a tag ends");
                let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap_or_default();
                if tag.starts_with('/') {
                    prop_assert_eq!(open.pop(), Some(name.to_owned()), "{}", &html);
                } else if !tag.ends_with('/') {
                    open.push(name.to_owned());
                }
            }
            prop_assert!(open.is_empty(), "{html}");
        }
    }
}

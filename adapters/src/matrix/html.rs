//! Markdown as the HTML that Matrix clients show.
//!
//! Only tags of the specification's list: <https://spec.matrix.org/v1.15/client-server-api/#mroommessage-msgtypes>

use std::fmt::Write as _;

use pulldown_cmark::{Alignment, CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::text::markdown::inert;

/// The HTML of `markdown`. Raw HTML in it is shown as text, and links lead only where people expect.
pub(super) fn html(markdown: &str) -> String {
    let mut writer = HtmlWriter::default();
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    for event in Parser::new_ext(markdown, options) {
        writer.take(event);
    }
    writer.out.truncate(writer.out.trim_end().len());
    writer.out
}

#[derive(Default)]
struct HtmlWriter {
    out: String,
    /// Whether the row being written is the table's head.
    in_head: bool,
    alignments: Vec<Alignment>,
    column: usize,
    /// The ends of the open links: one that leads nowhere good has none.
    links: Vec<&'static str>,
    /// The text of an image stands in a link to it.
    images: Vec<&'static str>,
}

impl HtmlWriter {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(text) => {
                self.out.push_str("<code>");
                self.text(&text);
                self.out.push_str("</code>");
            }
            // A line end that somebody wrote in a chat is meant.
            Event::SoftBreak | Event::HardBreak => self.out.push_str("<br />"),
            Event::Rule => self.out.push_str("<hr />\n"),
            Event::InlineMath(text) | Event::DisplayMath(text) => self.text(&text),
            Event::FootnoteReference(text) => self.text(&format!("[{text}]")),
            Event::TaskListMarker(done) => self.out.push_str(if done { "☑ " } else { "☐ " }),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => {
                let _ = write!(self.out, "<{}>", heading(level));
            }
            Tag::CodeBlock(kind) => self.code_block(&kind),
            Tag::List(Some(first)) if first != 1 => {
                let _ = writeln!(self.out, "<ol start=\"{first}\">");
            }
            Tag::List(Some(_)) => self.out.push_str("<ol>\n"),
            Tag::List(None) => self.out.push_str("<ul>\n"),
            Tag::Link { dest_url, .. } => {
                let end = self.link(&dest_url);
                self.links.push(end);
            }
            Tag::Image { dest_url, .. } => {
                let end = self.link(&dest_url);
                self.images.push(end);
            }
            Tag::Table(alignments) => {
                self.alignments = alignments;
                self.out.push_str("<table>\n");
            }
            Tag::TableHead => {
                self.in_head = true;
                self.column = 0;
                self.out.push_str("<thead><tr>");
            }
            Tag::TableRow => {
                self.column = 0;
                self.out.push_str("<tr>");
            }
            Tag::TableCell => self.cell(),
            other => self.out.push_str(plain_start(&other)),
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                let _ = writeln!(self.out, "</{}>", heading(level));
            }
            TagEnd::CodeBlock => {
                // Some clients (Nheko) show the end of the last line as an empty one.
                if self.out.ends_with('\n') {
                    self.out.pop();
                }
                self.out.push_str("</code></pre>\n");
            }
            TagEnd::List(ordered) => self.out.push_str(if ordered { "</ol>\n" } else { "</ul>\n" }),
            TagEnd::Link => self.out.push_str(self.links.pop().unwrap_or_default()),
            TagEnd::Image => self.out.push_str(self.images.pop().unwrap_or_default()),
            TagEnd::Table => self.out.push_str("</tbody></table>\n"),
            TagEnd::TableHead => {
                self.in_head = false;
                self.out.push_str("</tr></thead>\n<tbody>");
            }
            TagEnd::TableRow => self.out.push_str("</tr>\n"),
            TagEnd::TableCell => self.out.push_str(if self.in_head { "</th>" } else { "</td>" }),
            other => self.out.push_str(plain_end(&other)),
        }
    }

    fn code_block(&mut self, kind: &CodeBlockKind<'_>) {
        let info = match kind {
            CodeBlockKind::Fenced(info) => info.split_whitespace().next().unwrap_or_default(),
            CodeBlockKind::Indented => "",
        };
        let language: String = info.chars().filter(|c| c.is_alphanumeric() || "+-_#".contains(*c)).collect();
        if language.is_empty() {
            self.out.push_str("<pre><code>");
        } else {
            let _ = write!(self.out, "<pre><code class=\"language-{language}\">");
        }
    }

    /// Begins a link and returns its end.
    fn link(&mut self, url: &str) -> &'static str {
        let harmless = ["https://", "http://", "mailto:", "magnet:", "matrix:"];
        let scheme =
            |allowed: &&str| url.get(..allowed.len()).is_some_and(|it| it.eq_ignore_ascii_case(allowed));
        if !harmless.iter().any(scheme) {
            return "";
        }
        let _ = write!(self.out, "<a href=\"{}\">", escaped(url));
        "</a>"
    }

    fn cell(&mut self) {
        let name = if self.in_head { "th" } else { "td" };
        // Clients drop `style`; the old attribute is what some show and all accept.
        let align = match self.alignments.get(self.column) {
            Some(Alignment::Right) => " align=\"right\"",
            Some(Alignment::Center) => " align=\"center\"",
            Some(Alignment::Left | Alignment::None) | None => "",
        };
        self.column += 1;
        let _ = write!(self.out, "<{name}{align}>");
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(&escaped(&inert(text)));
    }
}

fn heading(level: HeadingLevel) -> &'static str {
    match level {
        HeadingLevel::H1 => "h1",
        HeadingLevel::H2 => "h2",
        HeadingLevel::H3 => "h3",
        HeadingLevel::H4 => "h4",
        HeadingLevel::H5 => "h5",
        HeadingLevel::H6 => "h6",
    }
}

fn plain_start(tag: &Tag<'_>) -> &'static str {
    match tag {
        Tag::Paragraph | Tag::HtmlBlock => "<p>",
        Tag::BlockQuote(_) => "<blockquote>\n",
        Tag::Item => "<li>",
        Tag::Emphasis => "<em>",
        Tag::Strong => "<strong>",
        Tag::Strikethrough => "<del>",
        _ => "",
    }
}

fn plain_end(tag: &TagEnd) -> &'static str {
    match tag {
        TagEnd::Paragraph | TagEnd::HtmlBlock => "</p>\n",
        TagEnd::BlockQuote(_) => "</blockquote>\n",
        TagEnd::Item => "</li>\n",
        TagEnd::Emphasis => "</em>",
        TagEnd::Strong => "</strong>",
        TagEnd::Strikethrough => "</del>",
        _ => "",
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
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
        <p>All <strong>good</strong>, <del>bad</del> <em>fine</em>.<br />Second &amp; last.</p>
        <ul>
        <li>one</li>
        <li>two<ol>
        <li>inner</li>
        </ol>
        </li>
        </ul>
        <ol start="3">
        <li>third</li>
        </ol>
        <pre><code class="language-sh">echo &quot;hi&quot; &amp;&amp; &lt;x&gt;</code></pre>
        <blockquote>
        <p>quoted</p>
        </blockquote>
        <table>
        <thead><tr><th>Story</th><th align="right">Cost</th></tr></thead>
        <tbody><tr><td>12</td><td align="right">1.20</td></tr>
        </tbody></table>
        <hr />
        "#);
    }

    #[test]
    fn markup_pings_and_strange_links_are_only_text() {
        assert_eq!(html("<b onclick=x>hi</b> @room"), "<p>&lt;b onclick=x&gt;hi&lt;/b&gt; @\u{200b}room</p>");
        assert_eq!(html("[x](javascript:alert(1)) [y](JavaScript:z)"), "<p>x y</p>");
        assert_eq!(html("[x](https://e.org/\"a)"), "<p><a href=\"https://e.org/&quot;a\">x</a></p>");
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

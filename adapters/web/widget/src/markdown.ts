// Bots write markdown, and people do. What is drawn of it is what a chat needs: paragraphs, line breaks, lists, bold,
// italic, code, links. There is no way for it to make markup of its own: every node is made here, from text.
import { h } from "./dom.ts";

/** Draws a text. */
export function markdown(text: string): DocumentFragment {
  const out = document.createDocumentFragment();
  for (const [i, chunk] of text.split(/^```[^\n]*\n?/m).entries()) {
    if (i % 2 === 1) out.append(h("pre", { tabindex: "0" }, h("code", {}, chunk.replace(/\n$/, ""))));
    else blocks(chunk, out);
  }
  return out;
}

const bullet = /^\s{0,3}[-*+•]\s+(.*)$/;
const numbered = /^\s{0,3}(\d{1,4})[.)]\s+(.*)$/;

function blocks(text: string, out: Node): void {
  let paragraph: HTMLParagraphElement | null = null;
  let list: HTMLElement | null = null;
  for (const line of text.split("\n")) {
    const dot = bullet.exec(line);
    const number = dot ? null : numbered.exec(line);
    if (dot || number) {
      const tag = dot ? "ul" : "ol";
      if (list?.localName !== tag) {
        list = h(tag, number?.[1] && number[1] !== "1" ? { start: number[1] } : {}) as HTMLElement;
        out.appendChild(list);
      }
      list.append(h("li", {}, inline((dot?.[1] ?? number?.[2]) as string)));
      paragraph = null;
      continue;
    }
    list = null;
    if (!line.trim()) {
      paragraph = null;
      continue;
    }
    if (paragraph) paragraph.append(h("br"));
    else {
      paragraph = h("p");
      out.appendChild(paragraph);
    }
    const heading = /^#{1,6}\s+(.*)$/.exec(line);
    paragraph.append(heading ? h("strong", {}, inline(heading[1] as string)) : inline(line));
  }
}

// In order: code, [text](address), bold, italic, a bare address. Lengths are bounded, so that no text takes long.
const marks =
  /`([^`]{1,2000})`|\[([^\]\n]{1,300})\]\(([^()\s]{1,2000}(?:\([^()\s]{0,200}\)[^()\s]{0,200}){0,4})\)|\*\*(?=\S)(.{1,2000}?)\*\*|__(?=\S)(.{1,2000}?)__|(?<![\w*])\*(?=[^\s*])([^*\n]+?)\*(?![\w*])|(?<![\w_])_(?=[^\s_])([^_\n]+?)_(?![\w_])|(https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]])/;

function inline(text: string, depth = 0): DocumentFragment {
  const out = document.createDocumentFragment();
  let rest = text;
  for (let m = marks.exec(rest); m && depth < 4; m = marks.exec(rest)) {
    out.append(rest.slice(0, m.index));
    rest = rest.slice(m.index + m[0].length);
    const [whole, code, label, address, bold, bold2, italic, italic2, bare] = m;
    if (code) out.append(h("code", {}, code));
    else if (label && address) out.append(safe(address) ? link(address, inline(label, depth + 1)) : whole);
    else if (bold || bold2) out.append(h("strong", {}, inline((bold || bold2) as string, depth + 1)));
    else if (italic || italic2) out.append(h("em", {}, inline((italic || italic2) as string, depth + 1)));
    else if (bare) out.append(link(bare, bare));
  }
  out.append(rest);
  return out;
}

/** Whether an address may be a link: nothing that runs, nothing relative to a page that the author does not know. */
export function safe(address: string): boolean {
  return /^(https?:\/\/|mailto:|tel:)[^\s]+$/i.test(address);
}

/** A link that tells the other site nothing and gets no hold of this page. */
export function link(address: string, inside: Node | string): HTMLAnchorElement {
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, inside);
}

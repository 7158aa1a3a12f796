type Attrs = Record<string, string | boolean | ((e: never) => void) | undefined>;

/** Makes an element. Functions become listeners (onclick), true an empty attribute; false and undefined leave it out. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attrs: Attrs = {}, ...inside: (Node | string)[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else set(element, name, value);
  }
  element.append(...inside);
  return element;
}

/** Sets an attribute, or removes it for false and undefined. */
export function set(element: Element, name: string, value: string | boolean | undefined): void {
  if (value === false || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== (value === true ? "" : value)) element.setAttribute(name, value === true ? "" : value);
}

/** Sets text only where it changed, so that live regions are not read again. */
export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

const svgSpace = "http://www.w3.org/2000/svg";

/** An icon of 16 units, drawn with the colour of the text around it. It says nothing to screen readers. */
export function icon(path: string, size = 18, name = ""): SVGElement {
  const svg = document.createElementNS(svgSpace, "svg");
  const line = document.createElementNS(svgSpace, "path");
  line.setAttribute("d", path);
  for (const [k, v] of Object.entries({
    viewBox: "0 0 16 16",
    width: String(size),
    height: String(size),
    fill: "none",
    stroke: "currentColor",
    "stroke-width": "1.5",
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
    "aria-hidden": "true",
    class: `tw-svg ${name}`,
  }))
    svg.setAttribute(k, v);
  svg.append(line);
  return svg;
}

export const icons = {
  chat: "M3 3.5h10a1 1 0 0 1 1 1v6a1 1 0 0 1-1 1H7.5L4.5 14v-2.500H3a1 1 0 0 1-1-1v-6a1 1 0 0 1 1-1zM5.200 7.500h.1M8 7.500h.1M10.800 7.500h.1",
  close: "M4 4l8 8M12 4l-8 8",
  down: "M3.500 6 8 10.500 12.500 6",
  person: "M8 7.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5zM3.200 13.500a4.800 4.800 0 0 1 9.600 0",
  people: "M6 7.500a2.300 2.300 0 1 0 0-4.600 2.300 2.300 0 0 0 0 4.600zM1.800 13.200a4.200 4.200 0 0 1 8.400 0M10.400 3.100a2.200 2.200 0 0 1 0 4.200M12 9.600a4.200 4.200 0 0 1 2.200 3.600",
  attach: "M12.500 7.500 8 12a3 3 0 0 1-4.200-4.200l5-5a2 2 0 0 1 2.800 2.800l-5 5a1 1 0 0 1-1.400-1.400L9.500 5",
  send: "M8 13V3.500M3.800 7.500 8 3.200l4.200 4.300",
  file: "M4 2.500h5l3 3v8H4zM9 2.500v3h3",
  link: "M6.500 9.500l3-3M7 4.800l1.300-1.300a2.800 2.800 0 0 1 4 4L11 8.800M9 11.200l-1.300 1.300a2.800 2.800 0 0 1-4-4L5 7.200",
  alert: "M8 2.500 14 13H2zM8 6.500v3M8 11.300v.1",
};

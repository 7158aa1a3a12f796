// Line icons on a grid of 16.
export const icons = {
  inbox: "M2.5 9.5h3l1 2h3l1-2h3M2.5 9.5 4.4 3.6a1 1 0 0 1 1-.6h5.2a1 1 0 0 1 1 .6l1.9 5.9v3a1 1 0 0 1-1 1h-9a1 1 0 0 1-1-1z",
  person: "M8 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM3.2 13.5a4.8 4.8 0 0 1 9.6 0",
  people: "M6 7.5a2.3 2.3 0 1 0 0-4.6 2.3 2.3 0 0 0 0 4.6zM1.8 13.2a4.2 4.2 0 0 1 8.4 0M10.4 3.1a2.2 2.2 0 0 1 0 4.2M12 9.6a4.2 4.2 0 0 1 2.2 3.6",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.4 10.4l3.1 3.1",
  warn: "M8 2.8 14 13H2zM8 6.5v3M8 11.2v.1",
  moon: "M13 9.6A5.4 5.4 0 0 1 6.4 3 5.4 5.4 0 1 0 13 9.6z",
  clock: "M8 13.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11zM8 5v3.2l2 1.3",
  info: "M8 13.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11zM8 7.3v3.4M8 5.2v.1",
  lock: "M4 7.2h8v6H4zM5.6 7V5.2a2.4 2.4 0 0 1 4.8 0V7",
  dots: "M3.5 8v.1M8 8v.1M12.5 8v.1",
  close: "M4 4l8 8M12 4l-8 8",
  chat: "M2.5 3h11v8H8l-3 2.5V11H2.5z",
  sms: "M2.5 3h11v8H8l-3 2.5V11H2.5zM5.2 7v.1M8 7v.1M10.8 7v.1",
  mail: "M2.2 3.8h11.6v8.4H2.2zM2.5 4.2 8 8.7l5.5-4.5",
  whatsapp: "M8 2.3a5.6 5.6 0 0 0-4.9 8.4L2.3 13.6l3-.8A5.6 5.6 0 1 0 8 2.3zM6.2 5.8v4.4h3.6V5.8z",
  check: "M3 8.5 6.5 12 13 4.5",
  checks: "M1.5 8.5 4.5 11.5 10 5M7.5 11.2l.6.4L14 5",
  retry: "M12.8 8a4.8 4.8 0 1 1-1.5-3.5L13 6M13 2.8V6H9.8",
  panel: "M2.5 3h11v10h-11zM10 3v10",
  clip: "M12.5 7.5 8 12a3 3 0 0 1-4.2-4.2l5-5a2 2 0 0 1 2.8 2.8l-5 5a1 1 0 0 1-1.4-1.4L9.5 5",
  transfer: "M2.5 5.5h10M10 3l2.5 2.5L10 8M13.5 10.5h-10M6 8 3.5 10.5 6 13",
  up: "M8 13V3.5M4 7.2 8 3.2l4 4",
  down: "M8 3v9.5M4 8.8l4 4 4-4",
  left: "M9.8 4 6 8l3.8 4",
  right: "M6.2 4 10 8l-3.8 4",
  eye: "M1.8 8S4 3.8 8 3.8 14.2 8 14.2 8 12 12.2 8 12.2 1.8 8 1.8 8zM8 9.8a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6z",
  keys: "M1.8 4h12.4v8H1.8zM4.2 6.6v.1M6.7 6.6v.1M9.2 6.6v.1M11.7 6.6v.1M5 9.5h6",
  settings: "M2.5 4.5h5M11 4.5h2.5M2.5 11.5H5M8.5 11.5h5M9.2 6.2a1.7 1.7 0 1 0 0-3.4 1.7 1.7 0 0 0 0 3.4zM6.7 13.2a1.7 1.7 0 1 0 0-3.4 1.7 1.7 0 0 0 0 3.4z",
  out: "M6 3H3v10h3M10.2 5 13.2 8l-3 3M13 8H6.5",
  bot: "M3 6h10v7H3zM8 6V3.2M6 9v.8M10 9v.8",
  file: "M4 2.5h5l3 3v8H4zM9 2.5v3h3",
  flag: "M4 14V2.8h8L10.2 6 12 9.2H4",
  back: "M7 4 3 8l4 4M3.2 8H13",
} as const;

export type IconName = keyof typeof icons;

/** The sign of a channel, by what its name says. */
export function channelIcon(channel: string): IconName {
  const c = channel.toLowerCase();
  if (c.includes("whatsapp")) return "whatsapp";
  if (c.includes("sms")) return "sms";
  if (c.includes("mail")) return "mail";
  return "chat";
}

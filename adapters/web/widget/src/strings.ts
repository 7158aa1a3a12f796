/**
 * Words with a number in them, by plural category (https://cldr.unicode.org/index/cldr-spec/plural-rules); "other" must be
 * there. {n} stands for the number.
 */
export type Plural = Partial<Record<Intl.LDMLPluralRule, string>> & { other: string };

/** Everything that the widget says, in one language. A table for another language may leave out what it does not have. */
export interface Strings {
  dir: "ltr" | "rtl";
  open: string; // the button on the page
  unread: Plural; // follows open, after a comma
  close: string;
  assistant: string; // who answers
  waiting: string;
  person: string;
  kept: string; // nobody is there; a person will answer
  over: string;
  hello: string; // above an empty conversation
  helloPerson: string;
  talk: string; // the button
  asking: string; // it was pressed and the server has not answered
  write: string; // label and placeholder of the message field
  send: string;
  attach: string;
  you: string; // who wrote a message, for screen readers
  log: string; // name of the list of messages
  thinking: string;
  typing: string; // {name}
  asked: string; // {time}: the customer asked for a person
  queued: string; // the conversation went to people
  joined: string; // {name} has the conversation
  someone: string; // a person without a name
  back: string; // the assistant has it again
  closed: string; // {time}
  reopened: string;
  again: string; // a new conversation begins
  undelivered: string;
  place: Plural; // ordinal categories
  queue: string; // heading while the place is not known
  next: string; // nobody is ahead
  keep: string; // we keep your place
  since: string; // {time}
  keptLong: string;
  reply: string; // writing after the end goes on
  sending: string;
  accepted: string;
  read: string;
  unsent: string; // waits for a connection
  failed: string;
  retry: string;
  discard: string;
  tooLarge: string;
  tooLong: string;
  notTaken: string;
  connecting: string;
  offline: string;
  unreachable: string;
  busy: string;
  plain: string; // link to the page without scripts
  uploading: string; // {name}
  uploaded: string; // {name}
  remove: string; // {name}
  fileTooLarge: string; // {size}
  fileType: string;
  fileCount: string; // {n}
  fileFailed: string;
  fileWait: string;
  drop: string;
  download: string; // {name}, {size}
  choices: string;
}

export const en: Strings = {
  dir: "ltr",
  open: "Open the chat",
  unread: { one: "{n} new message", other: "{n} new messages" },
  close: "Close the chat",
  assistant: "Assistant",
  waiting: "Waiting for a person",
  person: "A person is answering",
  kept: "A person will answer here",
  over: "Closed",
  hello: "Ask anything. The assistant answers.",
  helloPerson: "You can talk to a person at any time.",
  talk: "Talk to a person",
  asking: "Asking for a person",
  write: "Write a message",
  send: "Send",
  attach: "Attach a file",
  you: "You",
  log: "Conversation",
  thinking: "The assistant is writing",
  typing: "{name} is writing",
  asked: "You asked for a person at {time}",
  queued: "Passed to a person",
  joined: "{name} is with you now",
  someone: "A person",
  back: "The assistant answers again",
  closed: "Closed at {time}",
  reopened: "The conversation goes on",
  again: "A new conversation",
  undelivered: "A message could not be delivered",
  place: { one: "{n}st in line", two: "{n}nd in line", few: "{n}rd in line", other: "{n}th in line" },
  queue: "Waiting for a person",
  next: "You are next",
  keep: "We keep your place if you close this or leave the page.",
  since: "Since {time}",
  keptLong: "Nobody is here right now. Your messages are kept and a person will answer them here.",
  reply: "Write any time to go on.",
  sending: "Sending",
  accepted: "Sent",
  read: "Read",
  unsent: "Waits for the connection",
  failed: "Not sent.",
  retry: "Send again",
  discard: "Discard",
  tooLarge: "It is too large.",
  tooLong: "The message is too long. Send it in parts.",
  notTaken: "The chat does not take this message.",
  connecting: "Connecting",
  offline: "You are offline. What you write is kept here and goes out when you are back.",
  unreachable: "The chat cannot be reached. What you write is kept here and goes out as soon as it can.",
  busy: "Too much at once. What you write is kept here and goes out in a moment.",
  plain: "Open the chat in a page of its own",
  uploading: "Sending {name}",
  uploaded: "{name} is attached",
  remove: "Remove {name}",
  fileTooLarge: "Too large. Files can have up to {size}.",
  fileType: "Files of this type are not taken.",
  fileCount: "One message carries up to {n} files.",
  fileFailed: "It did not arrive. Check the connection and attach it again.",
  fileWait: "A file is still on its way. Send when it is attached.",
  drop: "Drop files here",
  download: "Save {name} {size}",
  choices: "Answers to choose from",
};

/** A language ready to use. */
export interface Speech {
  lang: string;
  words: Strings;
  /** Puts values into a sentence. */
  say(sentence: string, values: Record<string, string>): string;
  /** Chooses the words for a number: a count, or a place in a row. */
  count(words: Plural, n: number, type?: "cardinal" | "ordinal"): string;
  time(at: string | number): string;
  /** Bytes in words. */
  size(bytes: number): string;
}

/** Makes a language of a table; what it leaves out is English. */
export function speech(lang: string, table: Partial<Strings>): Speech {
  const words = { ...en, ...table };
  // A tag that this browser does not know is no reason to be silent.
  const tag = attempt(() => Intl.getCanonicalLocales(lang)[0]) ?? "en";
  const number = new Intl.NumberFormat(tag, { maximumFractionDigits: 1 });
  const time = new Intl.DateTimeFormat(tag, { hour: "numeric", minute: "2-digit" });
  const rules = { cardinal: new Intl.PluralRules(tag), ordinal: new Intl.PluralRules(tag, { type: "ordinal" }) };
  const say = (sentence: string, values: Record<string, string>) =>
    sentence.replace(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole);
  return {
    lang: tag,
    words,
    say,
    count: (w, n, type = "cardinal") => say(w[rules[type].select(n)] ?? w.other, { n: number.format(n) }),
    time: (at) => time.format(new Date(at)),
    size(bytes) {
      const kilo = bytes / 1024;
      return kilo < 1000 ? `${number.format(Math.max(1, Math.round(kilo)))} KB` : `${number.format(kilo / 1024)} MB`;
    },
  };
}

/** The table among names that fits the first of the wanted tags best: the tag itself, then its language. */
export function choose(wanted: readonly string[], names: readonly string[]): string {
  const find = (tag: string) => names.find((n) => n.toLowerCase() === tag.toLowerCase());
  for (const tag of wanted) {
    const found = find(tag) ?? find(tag.split("-")[0] ?? "");
    if (found) return found;
  }
  return "en";
}

function attempt<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}

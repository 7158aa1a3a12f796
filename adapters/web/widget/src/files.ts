// Files: sending and fetching them, and drawing pictures. Loaded when the first one is at hand.
import type { Sessions } from "./session.ts";
import type { Attachment } from "./wire.ts";

/** Why a file did not arrive: too_large, type, or failed for everything that may work the next time. */
export class Failed extends Error {
  constructor(readonly code: "too_large" | "type" | "failed") {
    super(code);
  }
}

/** Sends a file and returns its attachment. Rejects with Failed. progress gets 0 to 1. */
export async function upload(url: string, sessions: Sessions, file: File, progress: (part: number) => void, abort: AbortSignal): Promise<Attachment> {
  const { token } = await sessions.ensure();
  return new Promise((done, fail) => {
    // Only this old way tells how far an upload is.
    const request = new XMLHttpRequest();
    request.open("POST", url + "/attachments");
    request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("X-Filename", encodeURIComponent(file.name));
    request.upload.onprogress = (e) => e.lengthComputable && progress(e.loaded / e.total);
    request.onload = () => {
      if (request.status === 200) return done(JSON.parse(request.responseText) as Attachment);
      fail(new Failed(request.status === 413 ? "too_large" : request.status === 415 ? "type" : "failed"));
    };
    request.onerror = request.onabort = request.ontimeout = () => fail(new Failed("failed"));
    abort.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

async function fetchFile(url: string, sessions: Sessions, id: string): Promise<Blob> {
  const { token } = await sessions.ensure();
  const answer = await fetch(`${url}/attachments/${id}`, { headers: { Authorization: `Bearer ${token}` }, credentials: "omit" });
  if (!answer.ok) throw new Failed("failed");
  return answer.blob();
}

/** Has the browser save a file. */
export async function save(url: string, sessions: Sessions, file: Attachment): Promise<void> {
  const address = URL.createObjectURL(await fetchFile(url, sessions, file.id));
  const a = document.createElement("a");
  a.href = address;
  a.download = file.name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

const widest = 280;
const highest = 260;

/** Draws a picture. It is painted, not linked: the page's policy need not allow images from anywhere. */
export async function picture(url: string, sessions: Sessions, file: Attachment): Promise<HTMLCanvasElement> {
  const image = await createImageBitmap(await fetchFile(url, sessions, file.id));
  const scale = Math.min(1, widest / image.width, highest / image.height);
  const sharp = Math.min(2, devicePixelRatio || 1);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale * sharp));
  canvas.height = Math.max(1, Math.round(image.height * scale * sharp));
  canvas.style.width = `${Math.round(image.width * scale)}px`;
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  return canvas;
}

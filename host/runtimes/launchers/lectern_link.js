// Keeps a Shiny session while its connection comes and goes: see lectern_link.R, which speaks the other end.
//
// To Shiny this is its WebSocket. It tries a WebSocket and long polls in turn until one works, and again after each break; the
// session is over when nothing has worked for GRACE_MS. Shiny then greys the page out, and begins a new session by itself if the
// application allows it (session$allowReconnect(TRUE)).
(() => {
  'use strict';

  // As long as the other end waits.
  const GRACE_MS = 15000;
  // Something in between may take a WebSocket and let nothing pass.
  const HELLO_MS = 5000;
  const ACK_MS = 500;
  const PAUSES_MS = [0, 250, 500, 1000, 2000, 3000];

  const base = location.pathname.replace(/\/?$/, '/');

  class Link {
    constructor() {
      const random = crypto.getRandomValues(new Uint8Array(16));
      this.token = Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
      this.readyState = WebSocket.CONNECTING;
      this.allowReconnect = true;
      this.sent = 0;
      this.seen = 0;
      this.queue = [];
      this.polls = false;
      this.tries = 0;
      this.lostAt = Date.now();
      this.carry = null;
      // Shiny sets its handlers first.
      setTimeout(() => this.connect());
      addEventListener('pagehide', () => this.close());
    }

    send(data) {
      if (this.readyState > WebSocket.OPEN) return;
      this.sent += 1;
      let frame = `${this.sent}t${data}`;
      if (typeof data !== 'string') {
        const bytes = new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength);
        frame = `${this.sent}b${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))}`;
      }
      this.queue.push([this.sent, frame]);
      this.carry?.([frame]);
    }

    close() {
      if (this.readyState > WebSocket.OPEN) return;
      this.carry?.(['0c']);
      this.end();
    }

    query(more) {
      const fresh = this.readyState === WebSocket.CONNECTING ? 1 : 0;
      return `?lectern=${this.token}&seen=${this.seen}&fresh=${fresh}${more}`;
    }

    connect() {
      if (this.readyState > WebSocket.OPEN) return;
      this.attempt = (this.attempt ?? 0) + 1;
      if (this.polls) this.poll(this.attempt);
      else this.socket(this.attempt);
    }

    socket(attempt) {
      let socket;
      try {
        socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}${base}websocket/${this.query('')}`);
      } catch {
        this.broke(attempt);
        return;
      }
      const hello = setTimeout(() => socket.close(), HELLO_MS);
      socket.onmessage = ({ data }) => {
        if (attempt !== this.attempt) return;
        if (!this.carry) {
          clearTimeout(hello);
          this.works((frames) => frames.forEach((frame) => socket.send(frame)), data);
        } else this.take(data);
      };
      socket.onclose = () => {
        clearTimeout(hello);
        this.broke(attempt);
      };
      this.stop = () => socket.close();
    }

    async poll(attempt) {
      const stop = new AbortController();
      this.stop = () => stop.abort();
      const ask = async (frames, more, options) => {
        const address = `${base}__lectern__/poll${this.query(more)}`;
        const answer = await fetch(address, { method: 'POST', body: JSON.stringify(frames), ...options });
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        return answer.json();
      };
      // One at a time, so that they come in order; what gathers meanwhile goes together.
      let gathered = [];
      let bringing = false;
      const bring = async (frames) => {
        gathered.push(...frames);
        if (frames.includes('0c')) {
          ask(gathered, '&wait=0', { keepalive: true }).catch(() => {});
          return;
        }
        if (bringing) return;
        bringing = true;
        try {
          while (gathered.length > 0 && attempt === this.attempt) {
            const now = gathered;
            gathered = [];
            for (const frame of await ask(now, '&wait=0', { signal: stop.signal })) this.take(frame);
          }
        } catch {
          this.broke(attempt);
        } finally {
          bringing = false;
        }
      };
      try {
        let more = '&hello=1';
        while (attempt === this.attempt) {
          const [hello, ...frames] = await ask([], more, { signal: stop.signal });
          if (attempt !== this.attempt) return;
          if (!this.carry) this.works(bring, hello);
          else this.take(hello);
          frames.forEach((frame) => this.take(frame));
          more = '';
        }
      } catch {
        this.broke(attempt);
      }
    }

    // A connection works: what the other end has not seen goes over it.
    works(carry, hello) {
      if (hello === '0x') {
        this.end();
        return;
      }
      this.carry = carry;
      this.tries = 0;
      this.take(hello);
      document.getElementById('lectern-overlay')?.remove();
      if (this.readyState === WebSocket.CONNECTING) {
        this.readyState = WebSocket.OPEN;
        this.onopen?.({ target: this });
      } else if (this.queue.length > 0) carry(this.queue.map(([, frame]) => frame));
    }

    take(frame) {
      const [, digits, kind] = /^(\d+)([a-z])/.exec(frame) ?? [];
      const id = Number(digits);
      if (kind === 'x') this.end();
      else if (kind === 'a') this.queue = this.queue.filter(([own]) => own > id);
      else if (kind === 't' && id === this.seen + 1 && this.readyState === WebSocket.OPEN) {
        this.seen = id;
        // A poll says by itself what was seen.
        if (!this.polls) this.ack ??= setTimeout(() => { this.ack = undefined; this.carry?.([`${this.seen}a`]); }, ACK_MS);
        this.onmessage?.({ data: frame.slice(digits.length + 1), target: this });
      }
    }

    broke(attempt) {
      if (attempt !== this.attempt || this.readyState > WebSocket.OPEN) return;
      if (this.carry) {
        this.carry = null;
        this.lostAt = Date.now();
        this.grey();
      } else this.polls = !this.polls;
      this.attempt += 1;
      this.stop?.();
      if (Date.now() - this.lostAt > GRACE_MS) {
        this.end();
        return;
      }
      const pause = PAUSES_MS[Math.min(this.tries, PAUSES_MS.length - 1)];
      this.tries += 1;
      setTimeout(() => this.connect(), pause);
    }

    // The page is as it is when Shiny is disconnected, for as long as the session may come back.
    grey() {
      const overlay = document.createElement('div');
      overlay.id = 'lectern-overlay';
      overlay.style.cssText = 'position: fixed; inset: 0; background: #999; opacity: .5; z-index: 99998; pointer-events: none';
      setTimeout(() => { if (!this.carry && this.readyState === WebSocket.OPEN) document.body.append(overlay); }, 1000);
    }

    end() {
      if (this.readyState > WebSocket.OPEN) return;
      this.readyState = WebSocket.CLOSED;
      this.carry = null;
      this.attempt += 1;
      this.stop?.();
      document.getElementById('lectern-overlay')?.remove();
      this.onclose?.({ target: this });
    }
  }

  const use = () => {
    if (window.Shiny) window.Shiny.createSocket = () => new Link();
  };
  if (window.Shiny) use();
  // Before jQuery's own listeners, which begin Shiny.
  else document.addEventListener('DOMContentLoaded', use, { capture: true });
})();

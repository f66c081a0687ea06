// A board of notes that everybody sees at once: Express for the pages, a WebSocket for what is new.

import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import express from 'express';
import { WebSocketServer } from 'ws';

// A board is for today: the last notes, kept in memory.
const MOST_NOTES = 50;
const MOST_LETTERS = 200;
const notes = [];

// Who is asking, as the server says; a visitor cannot send this header.
function visitor(request) {
  const credentials = request.headers['rstudio-connect-credentials'];
  return credentials ? JSON.parse(credentials).user : null;
}

const app = express();
app.use(express.json({ limit: '10kb' }));
app.use(express.static(fileURLToPath(new URL('public', import.meta.url))));

app.get('/api/notes', (request, response) => response.json({ user: visitor(request), notes }));

app.post('/api/notes', (request, response) => {
  const text = String(request.body?.text ?? '').trim().slice(0, MOST_LETTERS);
  if (!text) return response.status(400).json({ error: 'a note needs a text' });
  const note = { text, by: visitor(request) ?? 'somebody', at: new Date().toISOString() };
  notes.push(note);
  notes.splice(0, notes.length - MOST_NOTES);
  for (const client of sockets.clients) client.send(JSON.stringify(note));
  response.status(201).json(note);
});

const server = createServer(app);
const sockets = new WebSocketServer({ server, path: '/live' });
server.listen(process.env.PORT ?? 3000, () => console.log(`listening on port ${server.address().port}`));

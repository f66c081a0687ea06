// Addresses are relative: the board does not know where it is mounted.

const list = document.querySelector('ul');

function show({ text, by, at }) {
  const item = document.createElement('li');
  const about = document.createElement('small');
  about.textContent = `${by}, ${new Date(at).toLocaleTimeString()}`;
  item.append(text, about);
  list.prepend(item);
}

document.querySelector('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { text } = Object.fromEntries(new FormData(event.target));
  await fetch('api/notes', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ text }) });
  event.target.reset();
});

const { user, notes } = await (await fetch('api/notes')).json();
document.querySelector('#who').textContent = user ? `signed in as ${user}` : 'not signed in';
notes.forEach(show);

const address = new URL('live', location.href);
address.protocol = address.protocol.replace('http', 'ws');
const socket = new WebSocket(address);
socket.addEventListener('message', (event) => show(JSON.parse(event.data)));
socket.addEventListener('open', () => document.body.classList.add('live'));

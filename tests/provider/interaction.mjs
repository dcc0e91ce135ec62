// The sign-in page: one form, posted to itself. Where a stronger acr is asked for, it asks for the second factor. A client
// that asks for consent (prompt=consent) gets a page with a button.
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

function page(uid, { params, prompt }, failed) {
  if (prompt.name === 'consent') {
    return `<!DOCTYPE html><title>Allow</title><p>${escape(params.client_id)}</p>
<form method="post" action="/interaction/${escape(uid)}"><input type="hidden" name="allow" value="yes"/><button type="submit">Allow</button></form>`;
  }
  const second = (params.acr_values ?? '').split(' ').includes('mfa') || JSON.stringify(params.claims ?? '').includes('mfa');
  return `<!DOCTYPE html><title>Sign in</title>
<p>${escape(params.client_id)} (${escape(prompt.reasons.join(', '))})${failed ? ' <b>That was wrong.</b>' : ''}</p>
<form method="post" action="/interaction/${escape(uid)}">
<input type="text" name="login"/><input type="password" name="password"/>
${second ? '<input type="text" name="otp"/>' : ''}<button type="submit">Sign in</button>
</form>`;
}

async function form(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString()));
}

export async function interaction(site, request, response) {
  const details = await site.provider.interactionDetails(request, response);
  const show = (status, failed) =>
    response.writeHead(status, { 'content-type': 'text/html; charset=utf-8' }).end(page(details.uid, details, failed));
  if (request.method !== 'POST') return show(200, false);
  if (details.prompt.name === 'consent') return site.provider.interactionFinished(request, response, { consent: {} }, { mergeWithLastSubmission: true });
  const login = site.people.authenticate(await form(request));
  if (!login) return show(401, true);
  return site.provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false });
}

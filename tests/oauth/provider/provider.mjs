// An OpenID provider as its authors have it, with the forms that it shows to developers: whoever gives a name is that
// person. Arguments: its package's folder, the client's id and secret, and where browsers go back to.
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const [modules, clientId, clientSecret, callback] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`));

const server = createServer().listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: [callback] }],
    claims: { openid: ["sub"], email: ["email", "email_verified"] },
    pkce: { required: () => true },
    findAccount: (_, name) => ({
      accountId: name,
      claims: () => ({ sub: name, email: `${name}@example.test`, email_verified: name !== "ned" }),
    }),
  });
  server.on("request", provider.callback());
  console.log(issuer);
});

"""Native tests: python3 -m unittest"""

import json
import unittest

import fake_host

import plugin


def authenticate(headers, peer="10.0.0.5"):
    fake_host.request("/", headers=headers)
    fake_host.answers.update({
        "config.document": json.dumps({
            "proxies": ["10.0.0.0/8"],
            "user_header": "x-remote-user",
            "groups_header": "x-remote-groups",
        }),
        "connection.peer_ip": peer,
        "directory.find_user": lambda name: fake_host.Value(subject=name) if name == "ada" else None,
    })
    return plugin.Auth().authenticate()


class Proxies(unittest.TestCase):
    def test_a_proxy_is_believed(self):
        identity = authenticate({"X-Remote-User": "ada", "X-Remote-Groups": "b, a,,b"}).value
        self.assertEqual((identity.subject, identity.groups), ("ada", ["a", "b"]))

    def test_nobody_else_is(self):
        self.assertIn("no proxy", authenticate({"X-Remote-User": "ada"}, peer="192.0.2.7").value)
        self.assertIn("nobody is called", authenticate({"X-Remote-User": "eve"}).value)
        self.assertEqual(authenticate({}), plugin.Outcome_Abstain())

    def test_networks_are_checked(self):
        fake_host.answers["config.document"] = json.dumps({"proxies": ["10.0.0.1/8"]})
        with self.assertRaises(fake_host.Err) as raised:
            plugin.Lifecycle().check()
        self.assertIn("has host bits set", raised.exception.value.value)


if __name__ == "__main__":
    unittest.main()

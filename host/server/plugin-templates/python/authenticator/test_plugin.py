"""Native tests: python3 -m unittest"""

import unittest

import fake_host

import plugin


def authenticate(token, secret=b"not a real token"):
    fake_host.request("/", headers={} if token is None else {"X-Machine-Token": token})
    fake_host.answers.update({
        "config.document": '{"user": "robot"}',
        "secrets.matches": lambda name, sent: None if secret is None else sent == secret,
        "directory.find_user": lambda name: {"robot": "the robot"}.get(name),
    })
    return plugin.Auth().authenticate()


class Tokens(unittest.TestCase):
    def test_the_token_decides(self):
        self.assertEqual(authenticate("not a real token"), plugin.Outcome_Authenticated("the robot"))
        self.assertEqual(authenticate("guessed"), plugin.Outcome_Rejected("a wrong token"))
        self.assertEqual(authenticate(None), plugin.Outcome_Abstain())

    def test_a_secret_that_is_not_set_is_told(self):
        with self.assertRaises(fake_host.Err) as raised:
            authenticate("x", secret=None)
        self.assertIn("secret token", raised.exception.value.value)


if __name__ == "__main__":
    unittest.main()
